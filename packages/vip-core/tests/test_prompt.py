"""The whole prompt: every method's ingredients, its sizes and its state."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from vip_core import Prompted, VIPConfig, VIPPrompt

SPACES = ["bottleneck", "embedding"]
METHODS = ["vip", "vip-c", "vip-q", "pt"]
Build = Callable[..., VIPPrompt]
Text = Callable[..., tuple[Tensor, Tensor]]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
def test_each_ablation_reads_its_own_prompt(method: str, skip: bool, space: str, build: Build, text: Text) -> None:
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
def test_every_method_returns_the_same_fields(method: str, build: Build, text: Text) -> None:
    prompt = build(method=method)
    found = prompt(*text())
    assert isinstance(found, Prompted)
    assert found.weight_BPK.shape == (2, 3, 5 if method in ("vip", "vip-q") else 0)
    assert found.weight_BPK.dtype == torch.float32
    assert found.commitment.shape == ()
    assert (found.commitment > 0).item() == (method in ("vip", "vip-q"))


@pytest.mark.parametrize("beta", [0.0, 0.1, 2.0])
def test_commitment_carries_its_weight(beta: float, build: Build, text: Text) -> None:
    prompt = build(quantizer={"commitment": beta, "space": "embedding"})
    text_BSD, mask_BS = text()
    _, context, quantized = parts(prompt, text_BSD, mask_BS)
    torch.testing.assert_close(prompt(text_BSD, mask_BS).commitment, beta * (quantized - context).square().mean())


def test_in_the_bottleneck_commitment_is_between_its_vectors(build: Build, text: Text) -> None:
    prompt = build(quantizer={"commitment": 2.0})
    text_BSD, mask_BS = text()
    assert prompt.contextualizer is not None
    assert prompt.quantizer is not None
    hidden_BPC = prompt.contextualizer.encode(prompt.prompt_PD, text_BSD, mask_BS)
    quantized_BPC = prompt.quantizer(hidden_BPC).vector_BPD
    torch.testing.assert_close(prompt(text_BSD, mask_BS).commitment, 2 * (quantized_BPC - hidden_BPC).square().mean())


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("method", METHODS)
def test_code_vectors_are_what_a_token_of_one_code_reads(method: str, space: str, build: Build, text: Text) -> None:
    prompt = build(method=method, skip=method == "pt", quantizer={"space": space})
    code_KD = prompt.code_vectors()
    assert code_KD.shape == (5 if method in ("vip", "vip-q") else 0, 6)
    if len(code_KD):
        found = prompt(*text(), how="argmax")
        torch.testing.assert_close(found.prompt_BPD, code_KD[found.weight_BPK.argmax(2)])
        code_KD.zero_()
        assert prompt.code_vectors().count_nonzero() > 0, "what is handed out is a copy"


@pytest.mark.parametrize("method", METHODS)
def test_parameters_come_in_two_lists_that_hold_all_of_them(method: str, build: Build) -> None:
    prompt = build(method=method)
    static, contextual = prompt.prompt_parameters(), prompt.contextualizer_parameters()
    assert len(static) == 1
    assert static[0] is prompt.prompt_PD
    assert bool(contextual) == (method in ("vip", "vip-c"))
    assert {id(parameter) for parameter in [*static, *contextual]} == {id(parameter) for parameter in prompt.parameters()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", SPACES)
def test_gradient_reaches_every_parameter(method: str, space: str, build: Build, text: Text) -> None:
    prompt = build(method=method, quantizer={"space": space}).train()
    found = prompt(*text())
    (found.embeds_BLD.square().sum() + found.commitment).backward()
    for name, parameter in prompt.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.count_nonzero() > 0, name


@pytest.mark.parametrize("space", SPACES)
def test_warmup_reads_the_contextual_prompt(space: str, build: Build, text: Text) -> None:
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
def test_keys_of_the_state(method: str, build: Build) -> None:
    # Adapters on disk hold these names.
    keys = set(build(method=method).state_dict())
    expected = {"prompt_PD"} | (CODEBOOK_KEYS if method in ("vip", "vip-q") else set())
    assert {key for key in keys if not key.startswith("contextualizer.")} == expected
    assert ({"contextualizer.scale", "contextualizer.down.weight", "contextualizer.up.bias"} <= keys) == (
        method in ("vip", "vip-c")
    )


def test_no_vocabulary_is_kept(build: Build) -> None:
    prompt = build(vocabulary=997)
    assert all(997 not in tensor.shape for tensor in [*prompt.state_dict().values(), *prompt.parameters(), *prompt.buffers()])
    assert not any(isinstance(module, nn.Embedding) for module in prompt.modules())


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_prompt_reads_the_same(method: str, build: Build, text: Text) -> None:
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
    batch: int,
    prompt_length: int,
    source: int,
    dim: int,
    codes: int,
    draws: int,
    method: str,
    warmup: int,
    space: str,
    build: Build,
    text: Text,
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
