"""The warm-up: vectors pass through, k-means ends it on time, and a checkpoint remembers that it is over."""

from typing import Any

import pytest
import torch
from torch import Tensor
from vip_core import Quantizer, QuantizerConfig


def build(codes: int = 6, dim: int = 3, *, seed: int = 0, **values: Any) -> Quantizer:
    config = QuantizerConfig(
        **({"codes": codes, "draws": 5, "temperature": 4.0, "warmup_steps": 0, "revive_below": 0.0} | values)
    )
    return Quantizer(config, normal(codes, dim, seed=seed))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same_state(module: torch.nn.Module, before: dict[str, Tensor]) -> None:
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_warmup_passes_vectors_through_and_selects_nothing() -> None:
    quantizer = build(warmup_steps=3, temperature="auto").train()
    before = state_of(quantizer)
    for step in range(2):
        context_BPD = normal(2, 3, 3, seed=step).requires_grad_()
        quantized = quantizer(context_BPD)
        assert torch.equal(quantized.vector_BPD, context_BPD)
        assert torch.equal(quantized.weight_BPK, torch.zeros(2, 3, 6))
        assert quantized.commitment.item() == 0.0
        (gradient_BPD,) = torch.autograd.grad(quantized.vector_BPD.sum() + quantized.commitment, context_BPD)
        assert torch.equal(gradient_BPD, torch.ones(2, 3, 3))
    assert quantizer.codebook.steps.item() == 2
    assert_same_state(quantizer, before | {"codebook.steps": torch.tensor(2)})


def test_evaluation_during_warmup_passes_through_and_counts_nothing() -> None:
    quantizer = build(warmup_steps=2).train()
    quantizer(normal(2, 3, 3, seed=0))
    before = state_of(quantizer)
    context_BPD = normal(2, 3, 3, seed=1)
    for _ in range(5):
        assert torch.equal(quantizer.eval()(context_BPD, how="argmax").vector_BPD, context_BPD)
    assert_same_state(quantizer, before)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_last_forward_of_the_warmup_starts_codes_from_its_vectors_and_the_next_uses_them(steps: int) -> None:
    quantizer = build(codes=2, dim=1, warmup_steps=steps, draws=4).train()
    context_BPD = torch.tensor([[[100.0], [200.0]]])
    for step in range(steps - 1):
        assert quantizer(normal(1, 2, 1, seed=step)).weight_BPK.count_nonzero() == 0
    assert quantizer(context_BPD).weight_BPK.count_nonzero() == 0
    weight_BPK = quantizer(context_BPD).weight_BPK
    # Each of two vectors is a code of its own, 100² / 4 below the other.
    assert weight_BPK.sum(1).tolist() == [[1.0, 1.0]]
    assert sorted(quantizer.codebook.code_KD.flatten().tolist()) == pytest.approx([100.0, 200.0])
    assert quantizer.codebook.steps.item() == steps + 1


def test_a_started_codebook_stays_started_in_another_quantizer() -> None:
    quantizer = build(warmup_steps=3).train()
    for step in range(6):
        quantizer(normal(2, 3, 3, seed=step))
    again = build(warmup_steps=3, seed=9).eval()
    context_BPD = normal(2, 3, 3, seed=7)
    assert torch.equal(again(context_BPD).vector_BPD, context_BPD)
    again.load_state_dict(quantizer.state_dict())
    found, expected = again(context_BPD), quantizer.eval()(context_BPD)
    assert expected.weight_BPK.sum().item() == pytest.approx(6.0)
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))
    # And it goes on without a second start.
    assert_same_state(again, state_of(quantizer))
    for module in (again.train(), quantizer.train()):
        module(context_BPD, generator=torch.Generator().manual_seed(0))
    assert_same_state(again, state_of(quantizer))
