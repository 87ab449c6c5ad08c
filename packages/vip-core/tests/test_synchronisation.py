"""The host never waits for the device in a training step: not in the warm-up, where it ends, nor after."""

from typing import Any

import pytest
import torch
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt

# What these return, in value or in shape, the host has to wait for.
WAITS = {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::bincount"}
WAITS |= {"aten::is_nonzero", "aten::_unique2", "aten::unique_consecutive", "aten::repeat_interleave"}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 5.0, "revive_below": 0.0},
    {"ema": "reference"},
    {"draws": 2, "codes": 200},
]


def build(**quantizer: Any) -> VIPPrompt:
    settings = VIPConfig(
        prompt_length=3,
        contextualizer=ContextualizerConfig(width=8, heads=2, feedforward=16, dropout=0.1),
        quantizer=QuantizerConfig(**({"codes": 5, "draws": 3, "warmup_steps": 2} | quantizer)),
    )
    torch.manual_seed(0)
    return VIPPrompt(settings, torch.randn(40, 6)).train()


def step(prompt: VIPPrompt, device: str = "cpu") -> None:
    text_BSD, mask_BS = torch.ones(2, 4, 6, device=device), torch.ones(2, 4, dtype=torch.int64, device=device)
    found = prompt(text_BSD, mask_BS)
    (found.embeds_BLD.sum() + found.commitment).backward()


@pytest.mark.parametrize("quantizer", SETTINGS)
@pytest.mark.parametrize("warmup_steps", [0, 2])
def test_no_operation_of_a_training_step_reads_the_device(warmup_steps: int, quantizer: dict[str, Any]) -> None:
    prompt = build(warmup_steps=warmup_steps, **quantizer)
    # The profiler sees what operations call inside as well.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(5):
            step(prompt)
    done = {event.key for event in profiler.key_averages()}
    assert {"aten::multinomial", "aten::embedding_bag"} <= done
    assert not done & WAITS


def test_what_reads_the_device_is_seen() -> None:
    prompt = build()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        prompt.load_state_dict(prompt.state_dict())
    assert "aten::item" in {event.key for event in profiler.key_averages()}, "the step count of a loaded state is read once"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("quantizer", SETTINGS)
def test_no_training_step_waits_for_the_gpu(quantizer: dict[str, Any]) -> None:
    prompt = build(**quantizer).to("cuda")
    step(build(**quantizer).to("cuda"), "cuda")  # libraries load
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            step(prompt, "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
