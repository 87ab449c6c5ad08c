"""The whole prompt: every method's ingredients, padding, order, empty batches, dtypes and state."""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from vip_core import ContextualizerConfig, Prompted, QuantizerConfig, VIPConfig, VIPPrompt

SPACES = ["bottleneck", "embedding"]
METHODS = ["vip", "vip-c", "vip-q", "pt"]
SMALL = ContextualizerConfig(width=8, feedforward=16, heads=2)
PAPER_SHAPED = ContextualizerConfig(width=8, feedforward=16, heads=2, norm="post", activation="relu")
QUANTIZER = QuantizerConfig(codes=5, draws=3, warmup_steps=0)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(
    *, dim: int = 6, seed: int = 0, vocabulary: int = 40, quantizer: dict[str, Any] | None = None, **values: Any
) -> VIPPrompt:
    """A small prompt in evaluation."""
    torch.manual_seed(seed)
    settled: dict[str, Any] = {
        "prompt_length": 3,
        "contextualizer": SMALL,
        "quantizer": dataclasses.replace(QUANTIZER, **(quantizer or {})),
    }
    return VIPPrompt(VIPConfig(**(settled | values)), normal(vocabulary, dim, seed=seed)).eval()


def text(batch: int = 2, source: int = 4, dim: int = 6, *, seed: int = 1) -> tuple[Tensor, Tensor]:
    return normal(batch, source, dim, seed=seed), torch.ones(batch, source, dtype=torch.int64)


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# --- what each method reads ---


def parts(prompt: VIPPrompt, text_BSD: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """p, p^c and p^q, made with the prompt's own parts; what it has no part for is zero, or p."""
    static_BPD = prompt.prompt_PD.expand(len(text_BSD), -1, -1)
    contextualizer, quantizer = prompt.contextualizer, prompt.quantizer
    if contextualizer is None:
        return static_BPD, torch.zeros_like(static_BPD), static_BPD if quantizer is None else quantizer(static_BPD).vector_BPD
    context_BPD = contextualizer(prompt.prompt_PD, text_BSD, mask_BS)
    if quantizer is None:
        return static_BPD, context_BPD, context_BPD
    if prompt.config.quantizer.space == "embedding":
        return static_BPD, context_BPD, quantizer(context_BPD).vector_BPD
    hidden_BPC = contextualizer.encode(prompt.prompt_PD, text_BSD, mask_BS)
    return static_BPD, context_BPD, contextualizer.expand(quantizer(hidden_BPC).vector_BPD)


@pytest.mark.parametrize(
    ("method", "skip"),
    [("vip", True), ("vip", False), ("vip-c", True), ("vip-c", False), ("vip-q", True), ("vip-q", False), ("pt", True)],
)
@pytest.mark.parametrize("space", SPACES)
def test_each_ablation_reads_its_own_prompt(method: str, skip: bool, space: str) -> None:
    prompt = build(method=method, skip=skip, quantizer={"space": space})
    text_BSD, mask_BS = text()
    found = prompt(text_BSD, mask_BS)
    static, _, drawn = parts(prompt, text_BSD, mask_BS)
    drawn = torch.zeros_like(static) if method == "pt" else drawn
    expected_BPD = static + drawn if skip else drawn
    torch.testing.assert_close(found.prompt_BPD, expected_BPD)
    assert torch.equal(found.embeds_BLD, torch.cat([found.prompt_BPD, text_BSD], dim=1))
    assert torch.equal(found.mask_BL, torch.ones(2, 7, dtype=torch.int64))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_returns_the_same_fields(method: str) -> None:
    prompt = build(method=method)
    found = prompt(*text())
    assert isinstance(found, Prompted)
    assert found.weight_BPK.shape == (2, 3, 5 if method in ("vip", "vip-q") else 0)
    assert found.weight_BPK.dtype == torch.float32
    assert found.commitment.shape == ()
    assert (found.commitment > 0).item() == (method in ("vip", "vip-q"))


@pytest.mark.parametrize("beta", [0.0, 0.1, 2.0])
def test_commitment_carries_its_weight(beta: float) -> None:
    prompt = build(quantizer={"commitment": beta, "space": "embedding"})
    text_BSD, mask_BS = text()
    _, context, quantized = parts(prompt, text_BSD, mask_BS)
    torch.testing.assert_close(prompt(text_BSD, mask_BS).commitment, beta * (quantized - context).square().mean())


def test_in_the_bottleneck_commitment_is_between_its_vectors() -> None:
    prompt = build(quantizer={"commitment": 2.0})
    text_BSD, mask_BS = text()
    assert prompt.contextualizer is not None
    assert prompt.quantizer is not None
    hidden_BPC = prompt.contextualizer.encode(prompt.prompt_PD, text_BSD, mask_BS)
    quantized_BPC = prompt.quantizer(hidden_BPC).vector_BPD
    torch.testing.assert_close(prompt(text_BSD, mask_BS).commitment, 2 * (quantized_BPC - hidden_BPC).square().mean())


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("method", METHODS)
def test_code_vectors_are_what_a_token_of_one_code_reads(method: str, space: str) -> None:
    prompt = build(method=method, skip=method == "pt", quantizer={"space": space})
    code_KD = prompt.code_vectors()
    assert code_KD.shape == (5 if method in ("vip", "vip-q") else 0, 6)
    if len(code_KD):
        found = prompt(*text(), how="argmax")
        torch.testing.assert_close(found.prompt_BPD, code_KD[found.weight_BPK.argmax(2)])
        code_KD.zero_()
        assert prompt.code_vectors().count_nonzero() > 0, "what is handed out is a copy"


@pytest.mark.parametrize("method", METHODS)
def test_parameters_come_in_two_lists_that_hold_all_of_them(method: str) -> None:
    prompt = build(method=method)
    static, contextual = prompt.prompt_parameters(), prompt.contextualizer_parameters()
    assert len(static) == 1
    assert static[0] is prompt.prompt_PD
    assert bool(contextual) == (method in ("vip", "vip-c"))
    assert {id(parameter) for parameter in [*static, *contextual]} == {id(parameter) for parameter in prompt.parameters()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", SPACES)
def test_gradient_reaches_every_parameter(method: str, space: str) -> None:
    prompt = build(method=method, quantizer={"space": space}).train()
    found = prompt(*text())
    (found.embeds_BLD.square().sum() + found.commitment).backward()
    for name, parameter in prompt.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.count_nonzero() > 0, name


@pytest.mark.parametrize("space", SPACES)
def test_warmup_reads_the_contextual_prompt(space: str) -> None:
    prompt = build(quantizer={"warmup_steps": 1, "space": space}).train()
    text_BSD, mask_BS = text()
    found = prompt(text_BSD, mask_BS)
    static, context, _ = parts(prompt.eval(), text_BSD, mask_BS)
    torch.testing.assert_close(found.prompt_BPD, static + context)
    assert found.weight_BPK.count_nonzero() == 0
    assert found.commitment.item() == 0.0


# --- sizes and keys ---


def test_paper_trains_143840_parameters() -> None:
    prompt = VIPPrompt(VIPConfig.paper(), normal(1200, 768, seed=0))
    assert sum(parameter.numel() for parameter in prompt.parameters()) == 143_840
    assert prompt.prompt_PD.numel() == 76_800
    assert prompt.quantizer is not None
    assert prompt.quantizer.codebook.code_KD.numel() == 768_000
    torch.testing.assert_close(prompt.quantizer.codebook.code_KD.norm(dim=1), torch.full((1000,), 100.0))
    assert prompt.quantizer.codebook.temperature.item() == 100.0


CODEBOOK_KEYS = {f"quantizer.codebook.{name}" for name in ("code_KD", "count_K", "sum_KD", "temperature", "steps")}


@pytest.mark.parametrize("method", METHODS)
def test_keys_of_the_state(method: str) -> None:
    # Adapters on disk hold these names.
    keys = set(build(method=method).state_dict())
    expected = {"prompt_PD"} | (CODEBOOK_KEYS if method in ("vip", "vip-q") else set())
    assert {key for key in keys if not key.startswith("contextualizer.")} == expected
    assert ({"contextualizer.scale", "contextualizer.down.weight", "contextualizer.up.bias"} <= keys) == (
        method in ("vip", "vip-c")
    )


def test_no_vocabulary_is_kept() -> None:
    prompt = build(vocabulary=997)
    assert all(997 not in tensor.shape for tensor in [*prompt.state_dict().values(), *prompt.parameters(), *prompt.buffers()])
    assert not any(isinstance(module, nn.Embedding) for module in prompt.modules())


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_prompt_reads_the_same(method: str) -> None:
    prompt = build(method=method, quantizer={"warmup_steps": 1}).train()
    for seed in range(4):
        prompt(*text(seed=seed))
    again = build(method=method, quantizer={"warmup_steps": 1}, seed=5)
    again.load_state_dict(state_of(prompt))
    assert all(torch.equal(one, two) for one, two in zip(again(*text()), prompt.eval()(*text()), strict=True))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    batch=st.integers(0, 3),
    prompt_length=st.integers(1, 4),
    source=st.integers(0, 4),
    dim=st.integers(1, 7),
    codes=st.integers(1, 6),
    draws=st.integers(1, 3),
    method=st.sampled_from(METHODS),
    warmup=st.integers(0, 2),
    space=st.sampled_from(SPACES),
)
def test_any_sizes_train_and_evaluate(
    batch: int, prompt_length: int, source: int, dim: int, codes: int, draws: int, method: str, warmup: int, space: str
) -> None:
    quantizer = {"codes": codes, "draws": draws, "warmup_steps": warmup, "space": space}
    prompt = build(dim=dim, prompt_length=prompt_length, method=method, quantizer=quantizer).train()
    for step in range(3):
        # Another batch each time, so that no code sits exactly on a vector of the next.
        found = prompt(*text(batch, source, dim, seed=step))
        (found.embeds_BLD.sum() + found.commitment).backward()
    for result in (found, prompt.eval()(*text(batch, source, dim))):
        assert result.embeds_BLD.shape == (batch, prompt_length + source, dim)
        assert result.mask_BL.shape == (batch, prompt_length + source)
        assert result.weight_BPK.shape == (batch, prompt_length, codes if method in ("vip", "vip-q") else 0)
        assert result.embeds_BLD.isfinite().all()
        assert result.commitment.isfinite()
    assert all(buffer.isfinite().all() for buffer in prompt.buffers())


# --- what it depends on ---


@pytest.mark.parametrize("how", ["expected", "argmax"])
@pytest.mark.parametrize("contextualizer", [SMALL, PAPER_SHAPED])
@pytest.mark.parametrize("space", SPACES)
def test_prompt_and_selection_do_not_depend_on_padding(how: Any, contextualizer: ContextualizerConfig, space: str) -> None:
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


def test_training_moves_the_codes_alike_however_the_text_is_padded() -> None:
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


def test_rows_keep_to_themselves() -> None:
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
def test_rows_of_padding_alone_read_a_prompt_and_disturb_no_other(method: str) -> None:
    prompt = build(method=method)
    text_BSD, mask_BS = text(batch=3)
    mask_BS[1] = 0
    found = prompt(text_BSD, mask_BS)
    assert found.embeds_BLD.isfinite().all()
    assert found.mask_BL[1].tolist() == [1, 1, 1, 0, 0, 0, 0]
    without = prompt(text_BSD[[0, 2]], mask_BS[[0, 2]])
    torch.testing.assert_close(found.prompt_BPD[[0, 2]], without.prompt_BPD, rtol=1e-4, atol=1e-5)


def test_static_methods_read_the_same_prompt_for_every_text() -> None:
    for method in ("vip-q", "pt"):
        prompt_BPD = build(method=method)(*text(batch=3)).prompt_BPD
        torch.testing.assert_close(prompt_BPD[1:], prompt_BPD[:1].expand(2, -1, -1))


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_batch_leaves_zero_gradients_not_none(method: str) -> None:
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
def test_evaluation_repeats_to_the_bit_and_changes_nothing(method: str) -> None:
    prompt = build(method=method, contextualizer=dataclasses.replace(SMALL, dropout=0.5))
    before = state_of(prompt)
    with torch.no_grad():
        first, again = prompt(*text()), prompt(*text())
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in prompt.state_dict().items())


def test_a_generator_makes_training_repeatable() -> None:
    found = [build().train()(*text(), generator=torch.Generator().manual_seed(seed)).weight_BPK for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


# --- dtypes ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_the_backbone_reads_the_dtype_of_its_text(dtype: torch.dtype, method: str) -> None:
    text_BSD, mask_BS = text()
    found = build(method=method)(text_BSD.to(dtype), mask_BS)
    assert (found.embeds_BLD.dtype, found.prompt_BPD.dtype, found.weight_BPK.dtype) == (dtype, torch.float32, torch.float32)
    assert torch.equal(found.embeds_BLD[:, :3], found.prompt_BPD.to(dtype))
    assert torch.equal(found.embeds_BLD[:, 3:], text_BSD.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int32, torch.float32, torch.bfloat16])
def test_masks_of_any_dtype_are_extended_by_ones(dtype: torch.dtype) -> None:
    text_BSD, mask_BS = text()
    mask_BS[0, 3] = 0
    found = build()(text_BSD, mask_BS.to(dtype))
    assert found.mask_BL.dtype == dtype
    assert found.mask_BL.long().tolist() == [[1, 1, 1, 1, 1, 1, 0], [1] * 7]
    assert torch.equal(found.prompt_BPD, build()(text_BSD, mask_BS).prompt_BPD)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", SPACES)
def test_a_module_in_bf16_trains_with_its_codebook_in_fp32(method: str, space: str) -> None:
    prompt = build(method=method, quantizer={"space": space}).bfloat16().train()
    text_BSD, mask_BS = text()
    found = prompt(text_BSD.bfloat16(), mask_BS)
    (found.embeds_BLD.float().square().sum() + found.commitment).backward()
    assert prompt.prompt_PD.dtype == torch.bfloat16
    assert found.embeds_BLD.dtype == torch.bfloat16
    codebook = [buffer for name, buffer in prompt.named_buffers() if name in CODEBOOK_KEYS]
    assert len(codebook) == (5 if method in ("vip", "vip-q") else 0)
    assert not any(buffer.dtype == torch.bfloat16 for buffer in codebook)


def test_autocast_trains() -> None:
    prompt = build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = prompt(*text())
    assert (found.prompt_BPD.dtype, found.commitment.dtype) == (torch.float32, torch.float32)
    (found.embeds_BLD.sum() + found.commitment).backward()
    assert all(parameter.grad is not None for parameter in prompt.parameters())
