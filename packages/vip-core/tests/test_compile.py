"""torch.compile of a whole prompt: no graph break, the same numbers, and no compilation per step.

The backends here run the captured graph operator by operator, so nothing needs a compiler and draws are those of plain torch.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from vip_core import ContextualizerConfig, Prompted, QuantizerConfig, VIPConfig, VIPPrompt

METHODS = ["vip", "vip-c", "vip-q", "pt"]
WARMUP = 10


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def build(method: Any = "vip", **quantizer: Any) -> VIPPrompt:
    settings = VIPConfig(
        prompt_length=3,
        method=method,
        contextualizer=ContextualizerConfig(width=8, heads=2, feedforward=16, layers=2),
        quantizer=QuantizerConfig(**({"codes": 5, "draws": 3, "warmup_steps": WARMUP, "revive_below": 0.5} | quantizer)),
    )
    torch.manual_seed(0)
    return VIPPrompt(settings, torch.randn(40, 6)).train()


def step(prompt: Any, seed: int) -> Prompted:
    torch.manual_seed(seed)
    text_BSD = torch.randn(2, 4, 6)
    found: Prompted = prompt(text_BSD, torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]))
    if prompt.training:
        prompt.zero_grad()
        (found.embeds_BLD.square().sum() + found.commitment).backward()
    return found


def assert_close(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def assert_same_state(first: VIPPrompt, second: VIPPrompt) -> None:
    assert_close(tuple(first.state_dict().values()), tuple(second.state_dict().values()))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("method", "graphs"), [("vip", 4), ("vip-c", 1), ("vip-q", 4), ("pt", 1)])
def test_training_compiles_whole_and_not_at_each_step(method: str, graphs: int) -> None:
    prompt = build(method)
    plain, counter = copy.deepcopy(prompt), CompileCounterWithBackend("eager")
    compiled = torch.compile(prompt, fullgraph=True, backend=counter)
    for seed in range(WARMUP + 4):
        assert_close(step(compiled, seed), step(plain, seed))
        assert_same_state(prompt, plain)
    # The first step, the warm-up, the step that starts the codes, and what follows.
    assert counter.frame_count == graphs
    if prompt.quantizer is not None:
        assert prompt.quantizer.codebook.started


@pytest.mark.parametrize("method", METHODS)
def test_a_graph_with_its_backward_does_the_same(method: str) -> None:
    prompt = build(method, warmup_steps=2)
    plain = copy.deepcopy(prompt)
    compiled = torch.compile(prompt, fullgraph=True, backend="aot_eager")
    for seed in range(5):
        assert_close(step(compiled, seed), step(plain, seed))
        assert_same_state(prompt, plain)


@pytest.mark.parametrize("evaluation", ["expected", "argmax", "sample"])
@pytest.mark.parametrize("steps", [1, WARMUP + 2])
def test_evaluation_compiles_whole(evaluation: str, steps: int) -> None:
    prompt = build(evaluation=evaluation)
    for seed in range(steps):
        step(prompt, seed)
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(prompt.eval(), fullgraph=True, backend=counter)
    for seed in range(3):
        assert_close(step(compiled, seed), step(prompt, seed))
    assert counter.frame_count == 1


def test_other_settings_compile_whole() -> None:
    prompt = build(temperature=4.0, ema="reference", revive_below=0.0, warmup_steps=0)
    plain, counter = copy.deepcopy(prompt), CompileCounterWithBackend("eager")
    compiled = torch.compile(prompt, fullgraph=True, backend=counter)
    for seed in range(4):
        assert_close(step(compiled, seed), step(plain, seed))
        assert_same_state(prompt, plain)
    assert counter.frame_count <= 2


def test_a_loaded_state_ends_the_warmup_of_a_compiled_prompt() -> None:
    trained, prompt = build(warmup_steps=2), build(warmup_steps=2)
    for seed in range(4):
        step(trained, seed)
    compiled = torch.compile(prompt, fullgraph=True, backend="eager")
    assert step(compiled, 0).weight_BPK.count_nonzero() == 0
    prompt.load_state_dict(trained.state_dict())
    assert_close(step(compiled, 1), step(trained, 1))
