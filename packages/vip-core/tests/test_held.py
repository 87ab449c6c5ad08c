"""Batches that are taken in parts: the codebook learns from all of them once, as from the whole batch."""

from typing import Any

import pytest
import torch
from torch import Tensor
from vip_core import ContextualizerConfig, Quantizer, QuantizerConfig, VIPConfig, VIPPrompt


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(**values: Any) -> Quantizer:
    settings: dict[str, Any] = {"codes": 4, "draws": 3, "decay": 0.7, "warmup_steps": 0, "revive_below": 0.3}
    return Quantizer(QuantizerConfig(**(settings | values)), normal(4, 3, seed=0)).train()


def assert_same_state(one: torch.nn.Module, two: torch.nn.Module) -> None:
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, two.state_dict()[name], msg=name)


@pytest.mark.parametrize("parts", [[6], [3, 3], [1, 0, 5], [2, 2, 1, 1]])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"warmup_steps": 2},
        {"ema": "reference"},
        {"temperature": 2.0, "revive_below": 0.0},
        {"temperature": 2.0, "codes": 4},
    ],
)
def test_parts_equal_the_whole(parts: list[int], values: dict[str, Any]) -> None:
    whole, parted = build(**values), build(**values)
    for step in range(5):
        context_BPD = normal(6, 2, 3, seed=step)
        torch.manual_seed(step)  # a row's draws follow those of the row before, in parts or not
        expected = whole(context_BPD, generator=None)
        torch.manual_seed(step)
        found = []
        *first, last = context_BPD.split(parts)
        with parted.codebook.held():
            found += [parted(part_BPD) for part_BPD in first]
        found.append(parted(last))
        torch.testing.assert_close(torch.cat([one.weight_BPK for one in found]), expected.weight_BPK)
        torch.testing.assert_close(torch.cat([one.vector_BPD for one in found]), expected.vector_BPD)
        assert_same_state(parted, whole)
    assert parted.codebook.steps.item() == 5


def test_nothing_moves_while_forwards_are_kept() -> None:
    quantizer = build()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    for step in range(3):
        with quantizer.codebook.held():
            quantizer(normal(2, 2, 3, seed=step))
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


def test_evaluation_in_between_takes_no_part() -> None:
    one, two = build(), build()
    for quantizer in (one, two):
        with quantizer.codebook.held():
            torch.manual_seed(0)
            quantizer(normal(2, 2, 3, seed=0))
    one.eval()(normal(2, 2, 3, seed=7))
    for quantizer in (one, two):
        torch.manual_seed(1)
        quantizer.train()(normal(2, 2, 3, seed=1))
    assert_same_state(one, two)


def test_what_was_kept_before_an_error_is_forgotten() -> None:
    one, two = build(), build()
    with pytest.raises(ValueError, match="how='lost'"), one.codebook.held():
        [one(normal(2, 2, 3, seed=0), how=how) for how in ("sample", "lost")]
    for quantizer in (one, two):
        torch.manual_seed(1)
        quantizer(normal(2, 2, 3, seed=1))
    assert_same_state(one, two)


def test_a_loaded_state_forgets_what_was_kept() -> None:
    one, two = build(), build()
    with one.codebook.held():
        one(normal(2, 2, 3, seed=0))
    one.load_state_dict(two.state_dict())
    for quantizer in (one, two):
        torch.manual_seed(1)
        quantizer(normal(2, 2, 3, seed=1))
    assert_same_state(one, two)


@pytest.mark.parametrize("method", ["vip", "vip-c", "vip-q", "pt"])
def test_a_prompt_in_parts_has_the_gradients_of_the_whole(method: Any) -> None:
    settings = VIPConfig(
        prompt_length=2,
        method=method,
        contextualizer=ContextualizerConfig(width=8, heads=2, feedforward=16),
        quantizer=QuantizerConfig(codes=4, draws=3, warmup_steps=1),
    )
    prompts = []
    for parts in (1, 4):
        torch.manual_seed(0)
        prompt = VIPPrompt(settings, normal(30, 6, seed=0)).train()
        for step in range(3):
            torch.manual_seed(step)
            pieces = normal(8, 4, 6, seed=step).chunk(parts)
            prompt.zero_grad()

            def learn(prompt: VIPPrompt, piece: Tensor, parts: int) -> None:
                found = prompt(piece, torch.ones(len(piece), 4))
                ((found.prompt_BPD.square().mean() + found.commitment) / parts).backward()

            with prompt.held():
                for piece in pieces[:-1]:
                    learn(prompt, piece, parts)
            learn(prompt, pieces[-1], parts)
        prompts.append(prompt)
    whole, parted = prompts
    assert_same_state(parted, whole)
    for one, two in zip(parted.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("hows", [("expected", "sample"), ("sample", "expected"), ("argmax", "sample")])
def test_parts_may_select_in_different_ways(hows: tuple[Any, Any]) -> None:
    quantizer = build(revive_below=0.0, temperature=2.0)
    before_KD = quantizer.codebook.sum_KD.clone()
    context_BPD = normal(5, 2, 3, seed=1)
    with quantizer.codebook.held():
        first = quantizer(context_BPD[:3], how=hows[0])
    second = quantizer(context_BPD[3:], how=hows[1])
    weight_NK = torch.cat([first.weight_BPK, second.weight_BPK]).flatten(0, 1)
    expected_KD = 0.7 * before_KD + 0.3 * weight_NK.T @ context_BPD.flatten(0, 1)
    torch.testing.assert_close(quantizer.codebook.sum_KD, expected_KD)


def test_a_batch_that_was_never_finished_is_forgotten_by_the_next() -> None:
    one, two = build(), build()
    with one.codebook.held():
        one(normal(2, 2, 3, seed=0))  # and its last part never came
    for quantizer in (one, two):
        torch.manual_seed(1)
        with quantizer.codebook.held():
            quantizer(normal(2, 2, 3, seed=1))
        quantizer(normal(2, 2, 3, seed=2))
    assert_same_state(one, two)
