"""The contextualizer against its equation in float64, and its independence of padding, order, batch size and dtype."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from vip_core import Contextualizer, ContextualizerConfig

Array = NDArray[np.float64]
PAPER = ContextualizerConfig(width=32, feedforward=64, dropout=0.1, norm="post", activation="relu")
SMALL: dict[str, Any] = {"width": 8, "feedforward": 16, "heads": 2}


def build(dim: int, *, seed: int = 0, scale: float = 1.0, **values: Any) -> Contextualizer:
    """A small contextualizer in evaluation, with norms and biases that are not the identity."""
    torch.manual_seed(seed)
    module = Contextualizer(ContextualizerConfig(**(SMALL | values)), dim, scale=scale)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return module.eval()


def inputs(batch: int, prompt: int, source: int, dim: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(prompt, dim, generator=generator), torch.randn(batch, source, dim, generator=generator)


# --- the equation, one attention head of one row at a time ---


def slow_norm(hidden_LC: Array, state: dict[str, Array], name: str) -> Array:
    centred = hidden_LC - hidden_LC.mean(1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    found: Array = centred / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]
    return found


def slow_linear(hidden_LC: Array, state: dict[str, Array], name: str) -> Array:
    found: Array = hidden_LC @ state[f"{name}.weight"].T + state[f"{name}.bias"]
    return found


def slow_attention(hidden_LC: Array, present_L: list[bool], state: dict[str, Array], name: str, heads: int) -> Array:
    query, key, value = np.split(hidden_LC @ state[f"{name}.in_proj_weight"].T + state[f"{name}.in_proj_bias"], 3, axis=1)
    each = hidden_LC.shape[1] // heads
    mixed = np.zeros_like(hidden_LC)
    for head in range(heads):
        part = slice(head * each, (head + 1) * each)
        for i in range(len(hidden_LC)):
            weight = [
                math.exp(query[i, part] @ key[j, part] / math.sqrt(each)) if present_L[j] else 0.0 for j in range(len(key))
            ]
            mixed[i, part] = sum(w * value[j, part] for j, w in enumerate(weight)) / sum(weight)
    return slow_linear(mixed, state, f"{name}.out_proj")


def slow_feedforward(hidden_LC: Array, state: dict[str, Array], name: str, activation: str) -> Array:
    wide = slow_linear(hidden_LC, state, f"{name}.linear1")
    if activation == "relu":
        active = np.maximum(wide, 0)
    else:
        active = np.array([[x / 2 * (1 + math.erf(x / math.sqrt(2))) for x in row] for row in wide])
    return slow_linear(active, state, f"{name}.linear2")


def slow_context(
    module: Contextualizer, config: ContextualizerConfig, scale: float, rows: Array, present_L: list[bool]
) -> Array:
    """W_up Encoder(W_down [p ; x]) for one row [p ; x] of the batch, all positions."""
    state: dict[str, Array] = {name: value.double().numpy() for name, value in module.state_dict().items()}
    pre = config.norm == "pre"
    hidden = slow_linear(slow_norm(rows, state, "norm_in") if pre else rows, state, "down")
    for layer in range(config.layers):
        name = f"encoder.layers.{layer}"
        if pre:
            hidden = hidden + slow_attention(
                slow_norm(hidden, state, f"{name}.norm1"), present_L, state, f"{name}.self_attn", config.heads
            )
            hidden = hidden + slow_feedforward(slow_norm(hidden, state, f"{name}.norm2"), state, name, config.activation)
        else:
            attended = slow_attention(hidden, present_L, state, f"{name}.self_attn", config.heads)
            hidden = slow_norm(hidden + attended, state, f"{name}.norm1")
            hidden = slow_norm(hidden + slow_feedforward(hidden, state, name, config.activation), state, f"{name}.norm2")
    if pre:
        hidden = slow_norm(hidden, state, "encoder.norm")
    return (scale if pre else 1.0) * slow_linear(hidden, state, "up")


@pytest.mark.parametrize(("norm", "activation"), [("post", "relu"), ("pre", "gelu")])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_forward_is_the_equation(norm: str, activation: str, mode: str) -> None:
    module = build(dim=5, scale=3.0, norm=norm, activation=activation)
    config = ContextualizerConfig(**SMALL, norm=norm, activation=activation)  # type: ignore[arg-type]
    prompt_PD, text_BSD = inputs(2, 3, 4, 5)
    mask_BS = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0]])
    # Without gradients, evaluation takes a fused path in torch that training does not.
    with torch.set_grad_enabled(mode == "train"):
        context_BPD = module.train(mode == "train")(prompt_PD, text_BSD, mask_BS).detach()
    for b in range(2):
        rows = np.concatenate([prompt_PD.double().numpy(), text_BSD[b].double().numpy()])
        present = [True] * 3 + [bool(value) for value in mask_BS[b]]
        expected_PD = slow_context(module, config, 3.0, rows, present)[:3]
        np.testing.assert_allclose(context_BPD[b].numpy(), expected_PD, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("norm", "activation"), [("post", "relu"), ("pre", "gelu")])
def test_attention_is_what_the_prompt_reads_by(norm: str, activation: str) -> None:
    module = build(dim=5, norm=norm, activation=activation)
    prompt_PD, text_BSD = inputs(2, 3, 4, 5)
    mask_BS = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0]])
    found_NBLL = module.attention(prompt_PD, text_BSD, mask_BS)
    assert found_NBLL.shape == (2, 2, 7, 7)
    torch.testing.assert_close(found_NBLL.sum(-1), torch.ones(2, 2, 7))
    assert float(found_NBLL[:, 1][..., [4, 6]].abs().sum()) == 0.0
    for b in range(2):
        slow_NLL = slow_weights(module, norm, activation, prompt_PD, text_BSD[b], mask_BS[b])
        np.testing.assert_allclose(found_NBLL[:, b].numpy(), slow_NLL, rtol=1e-4, atol=1e-6)


def slow_weights(
    module: Contextualizer, norm: str, activation: str, prompt_PD: Tensor, text_SD: Tensor, mask_S: Tensor
) -> Array:
    """Attention of every layer from the projections alone, mean over heads, for one row of the batch."""
    state: dict[str, Array] = {name: value.double().numpy() for name, value in module.state_dict().items()}
    hidden = torch.cat([prompt_PD, text_SD]).double().numpy()
    present = [True] * len(prompt_PD) + [bool(value) for value in mask_S]
    hidden = slow_linear(slow_norm(hidden, state, "norm_in") if norm == "pre" else hidden, state, "down")
    heads, each, found = SMALL["heads"], SMALL["width"] // SMALL["heads"], []
    for layer in range(2):
        name = f"encoder.layers.{layer}"
        read = slow_norm(hidden, state, f"{name}.norm1") if norm == "pre" else hidden
        query, key, _ = np.split(
            read @ state[f"{name}.self_attn.in_proj_weight"].T + state[f"{name}.self_attn.in_proj_bias"], 3, axis=1
        )
        weights = np.zeros((len(read), len(read)))
        for head in range(heads):
            part = slice(head * each, (head + 1) * each)
            logits = np.where(present, query[:, part] @ key[:, part].T / math.sqrt(each), -np.inf)
            exact = np.exp(logits - logits.max(1, keepdims=True))
            weights += exact / exact.sum(1, keepdims=True) / heads
        found.append(weights)
        attended = slow_attention(read, present, state, f"{name}.self_attn", heads)
        if norm == "pre":
            hidden = hidden + attended
            hidden = hidden + slow_feedforward(slow_norm(hidden, state, f"{name}.norm2"), state, name, activation)
        else:
            hidden = slow_norm(hidden + attended, state, f"{name}.norm1")
            hidden = slow_norm(hidden + slow_feedforward(hidden, state, name, activation), state, f"{name}.norm2")
    return np.stack(found)


# --- sizes ---


def test_parameter_count_of_the_paper() -> None:
    assert sum(parameter.numel() for parameter in Contextualizer(PAPER, 768).parameters()) == 67_040


def test_keys_of_the_state() -> None:
    layer = [f"self_attn.{name}" for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")]
    layer += [f"{module}.{kind}" for module in ("linear1", "linear2", "norm1", "norm2") for kind in ("weight", "bias")]
    post = {"scale", "down.weight", "down.bias", "up.weight", "up.bias"}
    post |= {f"encoder.layers.{index}.{name}" for index in range(2) for name in layer}
    assert set(Contextualizer(PAPER, 6).state_dict()) == post
    pre = post | {"norm_in.weight", "norm_in.bias", "encoder.norm.weight", "encoder.norm.bias"}
    assert set(Contextualizer(ContextualizerConfig(), 6).state_dict()) == pre


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    batch=st.integers(0, 3),
    prompt=st.integers(1, 4),
    source=st.integers(0, 4),
    dim=st.integers(1, 9),
    norm=st.sampled_from(["pre", "post"]),
)
def test_any_sizes_give_one_vector_per_prompt_token(batch: int, prompt: int, source: int, dim: int, norm: str) -> None:
    prompt_PD, text_BSD = inputs(batch, prompt, source, dim)
    context_BPD = build(dim, norm=norm)(prompt_PD, text_BSD, torch.ones(batch, source))
    assert context_BPD.shape == (batch, prompt, dim)
    assert context_BPD.isfinite().all()


def test_an_empty_batch_leaves_zero_gradients_not_none() -> None:
    # A rank without rows must still hand a gradient to the collectives of the backward pass.
    module = build(dim=5).train()
    prompt_PD, text_BSD = inputs(0, 3, 4, 5)
    prompt_PD.requires_grad_()
    module(prompt_PD, text_BSD, torch.ones(0, 4, dtype=torch.int64)).sum().backward()
    for tensor in [prompt_PD, *module.parameters()]:
        assert tensor.grad is not None
        assert tensor.grad.count_nonzero() == 0


# --- what it depends on ---


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_result_does_not_depend_on_how_far_or_where_the_text_is_padded(norm: str) -> None:
    module = build(dim=6, norm=norm)
    prompt_PD, text_BSD = inputs(3, 2, 5, 6)
    expected_BPD = module(prompt_PD, text_BSD, torch.ones(3, 5))
    junk = 7 * torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(1))
    no, yes = torch.zeros(3, 4), torch.ones(3, 5)
    right = module(prompt_PD, torch.cat([text_BSD, junk], 1), torch.cat([yes, no], 1))
    left = module(prompt_PD, torch.cat([junk, text_BSD], 1), torch.cat([no, yes], 1))
    middle = module(
        prompt_PD, torch.cat([text_BSD[:, :2], junk, text_BSD[:, 2:]], 1), torch.cat([yes[:, :2], no, yes[:, 2:]], 1)
    )
    for padded_BPD in (right, left, middle):
        torch.testing.assert_close(padded_BPD, expected_BPD, rtol=1e-4, atol=1e-5)


def test_a_row_of_padding_alone_sees_the_prompt_alone() -> None:
    module = build(dim=6)
    prompt_PD, text_BSD = inputs(2, 3, 4, 6)
    mask_BS = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]])
    context_BPD = module(prompt_PD, text_BSD, mask_BS)
    alone_BPD = module(prompt_PD, text_BSD[:1, :0], mask_BS[:1, :0])
    torch.testing.assert_close(context_BPD[:1], alone_BPD, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(context_BPD[1:], module(prompt_PD, text_BSD[1:], mask_BS[1:]), rtol=1e-4, atol=1e-5)


def test_prompt_tokens_see_the_text_and_each_other() -> None:
    module = build(dim=6)
    prompt_PD, text_BSD = inputs(2, 3, 4, 6)
    ones_BS = torch.ones(2, 4)
    context_BPD = module(prompt_PD, text_BSD, ones_BS)
    assert (context_BPD[0] - context_BPD[1]).abs().max() > 1e-3
    moved_PD = prompt_PD.clone()
    moved_PD[2] = 1.0 - moved_PD[2]
    assert (module(moved_PD, text_BSD, ones_BS)[:, :2] - context_BPD[:, :2]).abs().max() > 1e-3


def test_there_is_no_positional_encoding() -> None:
    module = build(dim=6)
    prompt_PD, text_BSD = inputs(2, 3, 4, 6)
    context_BPD = module(prompt_PD, text_BSD, torch.ones(2, 4))
    text_order, prompt_order = [2, 0, 3, 1], [1, 2, 0]
    shuffled_BPD = module(prompt_PD[prompt_order], text_BSD[:, text_order], torch.ones(2, 4))
    torch.testing.assert_close(shuffled_BPD, context_BPD[:, prompt_order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int32, torch.float32, torch.bfloat16])
def test_masks_of_any_dtype_mean_the_same(dtype: torch.dtype) -> None:
    module = build(dim=6)
    prompt_PD, text_BSD = inputs(2, 3, 4, 6)
    mask_BS = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1]])
    assert torch.equal(module(prompt_PD, text_BSD, mask_BS.to(dtype)), module(prompt_PD, text_BSD, mask_BS))


def test_only_training_drops_out() -> None:
    module = build(dim=6, dropout=0.5)
    prompt_PD, text_BSD = inputs(2, 3, 4, 6)
    ones_BS = torch.ones(2, 4)
    assert torch.equal(module(prompt_PD, text_BSD, ones_BS), module(prompt_PD, text_BSD, ones_BS))
    module.train()
    assert not torch.equal(module(prompt_PD, text_BSD, ones_BS), module(prompt_PD, text_BSD, ones_BS))


# --- scale, gradient, dtype ---


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_pre_norm_starts_on_the_scale_of_the_vocabulary(scale: float) -> None:
    torch.manual_seed(0)
    module = Contextualizer(ContextualizerConfig(), 64, scale=scale).eval()
    prompt_PD, text_BSD = inputs(8, 4, 10, 64)
    context_BPD = module(scale * prompt_PD, scale * text_BSD, torch.ones(8, 10))
    assert 0.3 < context_BPD.square().mean().sqrt().item() / scale < 1.5
    # The layer norm on the input takes the scale out; rounding and its epsilon are all that is left of it.
    unit_BPD = module(prompt_PD, text_BSD, torch.ones(8, 10))
    torch.testing.assert_close(context_BPD, unit_BPD, rtol=0, atol=5e-3 * scale)


def test_post_norm_ignores_the_scale_as_the_paper_does() -> None:
    prompt_PD, text_BSD = inputs(2, 3, 4, 6)
    small, large = build(dim=6, norm="post", scale=1.0), build(dim=6, norm="post", scale=50.0)
    assert torch.equal(small(prompt_PD, text_BSD, torch.ones(2, 4)), large(prompt_PD, text_BSD, torch.ones(2, 4)))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_gradient_reaches_every_parameter_and_the_prompt(norm: str) -> None:
    module = build(dim=6, norm=norm).train()
    prompt_PD, text_BSD = inputs(2, 3, 4, 6)
    prompt_PD.requires_grad_()
    module(prompt_PD, text_BSD, torch.ones(2, 4)).square().sum().backward()
    for name, tensor in [("prompt", prompt_PD), *module.named_parameters()]:
        assert tensor.grad is not None, name
        assert tensor.grad.count_nonzero() > 0, name


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("text", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("prompt", [torch.float32, torch.bfloat16])
def test_it_computes_in_the_dtype_of_its_weights(weights: torch.dtype, text: torch.dtype, prompt: torch.dtype) -> None:
    module = build(dim=6).to(weights)
    prompt_PD, text_BSD = inputs(2, 3, 4, 6)
    context_BPD = module(prompt_PD.to(prompt), text_BSD.to(text), torch.ones(2, 4))
    assert context_BPD.dtype == weights
    exact_BPD = build(dim=6)(prompt_PD, text_BSD, torch.ones(2, 4))
    torch.testing.assert_close(context_BPD.float(), exact_BPD, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_gradients_are_those_of_the_encoder_over_all_positions(norm: str, layers: int) -> None:
    module = build(6, norm=norm, layers=layers).train()
    prompt_PD, text_BSD = inputs(3, 2, 4, 6)
    mask_BS = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    reader_BPD = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(1))

    input_BLD = torch.cat([prompt_PD.expand(3, -1, -1), text_BSD], 1)
    ignored_BL = torch.cat([torch.zeros(3, 2, dtype=torch.bool), mask_BS == 0], 1)
    hidden_BLC = module.encoder(module.down(module.norm_in(input_BLD)), src_key_padding_mask=ignored_BL)
    expected_BPD = module.scale * module.up(hidden_BLC[:, :2])
    found_BPD = module(prompt_PD, text_BSD, mask_BS)
    torch.testing.assert_close(found_BPD, expected_BPD, rtol=1e-4, atol=1e-5)
    expected = torch.autograd.grad((expected_BPD * reader_BPD).sum(), list(module.parameters()))
    found = torch.autograd.grad((found_BPD * reader_BPD).sum(), list(module.parameters()))
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
