"""What the whole prompt depends on: padding, other rows, empty batches, draws and dtypes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from vip_core import ContextualizerConfig, VIPPrompt

SPACES = ["bottleneck", "embedding"]
METHODS = ["vip", "vip-c", "vip-q", "pt"]
SMALL = ContextualizerConfig(width=8, feedforward=16, heads=2)
PAPER_SHAPED = ContextualizerConfig(width=8, feedforward=16, heads=2, norm="post", activation="relu")
CODEBOOK_KEYS = {f"quantizer.codebook.{name}" for name in ("code_KD", "count_K", "sum_KD", "temperature", "steps")}
Build = Callable[..., VIPPrompt]
Text = Callable[..., tuple[Tensor, Tensor]]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# --- rows and padding ---


@pytest.mark.parametrize("how", ["expected", "argmax"])
@pytest.mark.parametrize("contextualizer", [SMALL, PAPER_SHAPED])
@pytest.mark.parametrize("space", SPACES)
def test_prompt_and_selection_do_not_depend_on_padding(
    how: Any, contextualizer: ContextualizerConfig, space: str, build: Build, text: Text
) -> None:
    prompt = build(contextualizer=contextualizer, quantizer={"space": space})
    text_BSD, mask_BS = text()
    expected = prompt(text_BSD, mask_BS, how=how)
    pad_BSD, no_BS = 9 * normal(2, 5, 6, seed=2), torch.zeros(2, 5, dtype=torch.int64)
    right = prompt(torch.cat([text_BSD, pad_BSD], 1), torch.cat([mask_BS, no_BS], 1), how=how)
    left = prompt(torch.cat([pad_BSD, text_BSD], 1), torch.cat([no_BS, mask_BS], 1), how=how)
    for found in (right, left):
        torch.testing.assert_close(found.prompt_BPD, expected.prompt_BPD, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.weight_BPK, expected.weight_BPK, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.commitment, expected.commitment, rtol=1e-3, atol=1e-6)
    # The text stays where the caller put it.
    assert torch.equal(right.mask_BL, torch.tensor([[1] * 7 + [0] * 5] * 2))
    assert torch.equal(left.mask_BL, torch.tensor([[1] * 3 + [0] * 5 + [1] * 4] * 2))


def test_training_moves_the_codes_alike_however_the_text_is_padded(build: Build, text: Text) -> None:
    states = []
    for extra in (0, 6):
        prompt = build(quantizer={"temperature": "auto", "revive_below": 0.3}).train()
        for step in range(3):
            text_BSD, mask_BS = text(seed=step)
            padded_BSD = torch.cat([text_BSD, torch.full((2, extra, 6), 5.0)], 1)
            prompt(
                padded_BSD,
                nn.functional.pad(mask_BS, (0, extra)),
                how="expected",
                generator=torch.Generator().manual_seed(step),
            )
        states.append(state_of(prompt))
    for name in CODEBOOK_KEYS:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-3, atol=1e-4)


def test_rows_keep_to_themselves(build: Build, text: Text) -> None:
    prompt = build()
    text_BSD, mask_BS = text(batch=5)
    mask_BS[1, 2:] = 0
    order = [3, 0, 4, 1, 2]
    found, shuffled = prompt(text_BSD, mask_BS), prompt(text_BSD[order], mask_BS[order])
    torch.testing.assert_close(shuffled.prompt_BPD, found.prompt_BPD[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shuffled.weight_BPK, found.weight_BPK[order], rtol=1e-4, atol=1e-5)
    assert torch.equal(shuffled.mask_BL, found.mask_BL[order])
    assert (found.prompt_BPD[0] - found.prompt_BPD[2]).abs().max() > 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_padding_alone_read_a_prompt_and_disturb_no_other(method: str, build: Build, text: Text) -> None:
    prompt = build(method=method)
    text_BSD, mask_BS = text(batch=3)
    mask_BS[1] = 0
    found = prompt(text_BSD, mask_BS)
    assert found.embeds_BLD.isfinite().all()
    assert found.mask_BL[1].tolist() == [1, 1, 1, 0, 0, 0, 0]
    without = prompt(text_BSD[[0, 2]], mask_BS[[0, 2]])
    torch.testing.assert_close(found.prompt_BPD[[0, 2]], without.prompt_BPD, rtol=1e-4, atol=1e-5)


def test_static_methods_read_the_same_prompt_for_every_text(build: Build, text: Text) -> None:
    for method in ("vip-q", "pt"):
        prompt_BPD = build(method=method)(*text(batch=3)).prompt_BPD
        torch.testing.assert_close(prompt_BPD[1:], prompt_BPD[:1].expand(2, -1, -1))


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_batch_leaves_zero_gradients_not_none(method: str, build: Build, text: Text) -> None:
    prompt = build(method=method).train()
    found = prompt(*text(batch=0))
    assert found.embeds_BLD.shape == (0, 7, 6)
    assert found.commitment.item() == 0.0
    (found.embeds_BLD.sum() + found.commitment).backward()
    for name, parameter in prompt.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.count_nonzero() == 0, name


# --- repeatability ---


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_repeats_to_the_bit_and_changes_nothing(method: str, build: Build, text: Text) -> None:
    prompt = build(method=method, contextualizer=dataclasses.replace(SMALL, dropout=0.5))
    before = state_of(prompt)
    with torch.no_grad():
        first, again = prompt(*text()), prompt(*text())
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in prompt.state_dict().items())


def test_a_generator_makes_training_repeatable(build: Build, text: Text) -> None:
    found = [build().train()(*text(), generator=torch.Generator().manual_seed(seed)).weight_BPK for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


# --- dtypes ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_the_backbone_reads_the_dtype_of_its_text(dtype: torch.dtype, method: str, build: Build, text: Text) -> None:
    text_BSD, mask_BS = text()
    found = build(method=method)(text_BSD.to(dtype), mask_BS)
    assert (found.embeds_BLD.dtype, found.prompt_BPD.dtype, found.weight_BPK.dtype) == (dtype, torch.float32, torch.float32)
    assert torch.equal(found.embeds_BLD[:, :3], found.prompt_BPD.to(dtype))
    assert torch.equal(found.embeds_BLD[:, 3:], text_BSD.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int32, torch.float32, torch.bfloat16])
def test_masks_of_any_dtype_are_extended_by_ones(dtype: torch.dtype, build: Build, text: Text) -> None:
    text_BSD, mask_BS = text()
    mask_BS[0, 3] = 0
    found = build()(text_BSD, mask_BS.to(dtype))
    assert found.mask_BL.dtype == dtype
    assert found.mask_BL.long().tolist() == [[1, 1, 1, 1, 1, 1, 0], [1] * 7]
    assert torch.equal(found.prompt_BPD, build()(text_BSD, mask_BS).prompt_BPD)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", SPACES)
def test_a_module_in_bf16_trains_with_its_codebook_in_fp32(method: str, space: str, build: Build, text: Text) -> None:
    prompt = build(method=method, quantizer={"space": space}).bfloat16().train()
    text_BSD, mask_BS = text()
    found = prompt(text_BSD.bfloat16(), mask_BS)
    (found.embeds_BLD.float().square().sum() + found.commitment).backward()
    assert prompt.prompt_PD.dtype == torch.bfloat16
    assert found.embeds_BLD.dtype == torch.bfloat16
    codebook = [buffer for name, buffer in prompt.named_buffers() if name in CODEBOOK_KEYS]
    assert len(codebook) == (5 if method in ("vip", "vip-q") else 0)
    assert not any(buffer.dtype == torch.bfloat16 for buffer in codebook)


def test_autocast_trains(build: Build, text: Text) -> None:
    prompt = build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = prompt(*text())
    assert (found.prompt_BPD.dtype, found.commitment.dtype) == (torch.float32, torch.float32)
    (found.embeds_BLD.sum() + found.commitment).backward()
    assert all(parameter.grad is not None for parameter in prompt.parameters())
