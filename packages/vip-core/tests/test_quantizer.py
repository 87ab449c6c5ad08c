"""The quantizer against slow float64 loops: selection, p^q, commitment, gradients and precision."""

import math
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from vip_core import Quantizer, QuantizerConfig, commitment_loss
from vip_core.config import Evaluation

Array = NDArray[np.float64]
HOWS = get_args(Evaluation)


class Slow(NamedTuple):
    """The oracle's answer for N vectors."""

    logit_NK: Array
    expected_NK: Array
    argmax_NK: Array


def slow_selection(vector_ND: Array, code_KD: Array, temperature: float) -> Slow:
    """logit = -||p^c - e||² / τ, its softmax and its first maximum, one pair at a time."""
    rows, codes = len(vector_ND), len(code_KD)
    logit_NK, expected_NK, argmax_NK = np.zeros((rows, codes)), np.zeros((rows, codes)), np.zeros((rows, codes))
    for n in range(rows):
        for k in range(codes):
            logit_NK[n, k] = -sum((a - b) ** 2 for a, b in zip(vector_ND[n], code_KD[k], strict=True)) / temperature
        best = max(logit_NK[n])
        total = sum(math.exp(logit - best) for logit in logit_NK[n])
        for k in range(codes):
            expected_NK[n, k] = math.exp(logit_NK[n, k] - best) / total
        argmax_NK[n, list(logit_NK[n]).index(best)] = 1.0
    return Slow(logit_NK, expected_NK, argmax_NK)


def slow_quantized(weight_NK: Array, code_KD: Array) -> Array:
    """p^q = Σ_k weight_k e_k."""
    return np.array([sum(weight_NK[n, k] * code_KD[k] for k in range(len(code_KD))) for n in range(len(weight_NK))])


def slow_commitment(vector_ND: Array, quantized_ND: Array) -> float:
    """mean((sg(p^q) - p^c)²)."""
    return sum((q - c) ** 2 for q, c in zip(quantized_ND.flatten(), vector_ND.flatten(), strict=True)) / vector_ND.size


def build(codes: int = 6, dim: int = 3, *, seed: int = 0, **values: Any) -> Quantizer:
    config = QuantizerConfig(
        **({"codes": codes, "draws": 5, "temperature": 4.0, "warmup_steps": 0, "revive_below": 0.0} | values)
    )
    return Quantizer(config, normal(codes, dim, seed=seed))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(tensor: Tensor) -> Array:
    found: Array = tensor.detach().flatten(0, 1).double().numpy()
    return found


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# --- forward ---


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    batch=st.integers(0, 3),
    prompt=st.integers(1, 3),
    codes=st.integers(1, 5),
    dim=st.integers(1, 6),
    draws=st.integers(1, 4),
    temperature=st.sampled_from([0.1, 1.0, 100.0, "auto"]),
    how=st.sampled_from(HOWS),
    training=st.booleans(),
)
def test_forward_is_the_equations(
    batch: int, prompt: int, codes: int, dim: int, draws: int, temperature: Any, how: Evaluation, training: bool
) -> None:
    quantizer = build(codes, dim, draws=draws, temperature=temperature).train(training)
    code_KD = quantizer.codebook.code_KD.double().numpy().copy()
    tau = quantizer.codebook.temperature.item()
    context_BPD = normal(batch, prompt, dim, seed=1)
    quantized = quantizer(context_BPD, how=how, generator=torch.Generator().manual_seed(0))

    weight_NK = rows(quantized.weight_BPK)
    assert quantized.weight_BPK.shape == (batch, prompt, codes)
    assert quantized.weight_BPK.dtype == torch.float32
    slow = slow_selection(rows(context_BPD), code_KD, tau)
    if how == "sample":
        # Whole counts out of M; which ones is the business of the tests of the sampler.
        np.testing.assert_allclose(weight_NK * draws, np.round(weight_NK * draws), rtol=0, atol=1e-5)
        np.testing.assert_allclose(weight_NK.sum(1), np.ones(batch * prompt), rtol=1e-6)
    else:
        expected_NK = slow.expected_NK if how == "expected" else slow.argmax_NK
        np.testing.assert_allclose(weight_NK, expected_NK, rtol=1e-3, atol=1e-5)
    quantized_ND = slow_quantized(weight_NK, code_KD).reshape(batch * prompt, dim)
    np.testing.assert_allclose(rows(quantized.vector_BPD), quantized_ND, rtol=1e-5, atol=1e-5)
    expected = slow_commitment(rows(context_BPD), quantized_ND) if batch else 0.0
    assert quantized.commitment.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_single_code_takes_everything() -> None:
    quantized = build(codes=1, draws=1)(normal(2, 3, 3, seed=0))
    assert torch.equal(quantized.weight_BPK, torch.ones(2, 3, 1))


def test_a_single_draw_is_one_code() -> None:
    weight_BPK = build(draws=1).train()(normal(4, 3, 3, seed=0)).weight_BPK
    assert weight_BPK.max(2).values.eq(1).all()
    assert weight_BPK.count_nonzero().item() == 12


def test_distances_keep_their_differences_far_from_the_origin() -> None:
    # What all vectors and codes have in common has no part in the distances between them.
    quantizer = build(codes=6, dim=32, evaluation="expected").eval()
    context_BPD = normal(1, 4, 32, seed=1)
    expected_BPK = quantizer(context_BPD).weight_BPK
    quantizer.codebook.code_KD += 16.0
    torch.testing.assert_close(quantizer(context_BPD + 16.0).weight_BPK, expected_BPK, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("apart", [1.0, 9.0, 1e6])
@pytest.mark.parametrize("how", HOWS)
def test_a_temperature_of_nothing_selects_the_nearest_code(apart: float, how: Evaluation) -> None:
    # `auto` may end at zero, as where k-means found no more vectors than codes and put one on each. A vector that has moved on
    # by the next step then has no code at a finite logit.
    quantizer = build(codes=2, dim=1, temperature="auto").eval()
    quantizer.codebook.code_KD.copy_(torch.tensor([[1.0], [2.0]]))
    quantizer.codebook.temperature.zero_()
    weight_BPK = quantizer(torch.tensor([[[3.0], [4.0]]]) + apart, how=how).weight_BPK
    assert weight_BPK.tolist() == [[[0.0, 1.0], [0.0, 1.0]]]


@pytest.mark.parametrize("how", HOWS)
def test_a_row_that_may_not_select_some_codes_selects_as_if_they_were_not_there(how: Evaluation) -> None:
    quantizer, context_BPD = build(codes=6).eval(), normal(2, 3, 3, seed=1)
    fewer = build(codes=6).eval()
    with torch.no_grad():  # the barred codes of the first row go where nothing reaches them
        fewer.codebook.code_KD[[1, 4]] = 1e6
    allowed_BK = torch.ones(2, 6, dtype=torch.bool)
    allowed_BK[0, [1, 4]] = False

    def run(module: Quantizer, allowed: Tensor | None) -> Any:
        return module(context_BPD, how=how, generator=torch.Generator().manual_seed(0), allowed_BK=allowed)

    found, without, whole = run(quantizer, allowed_BK), run(fewer, None), run(quantizer, None)
    for name in ("weight_BPK", "vector_BPD"):
        assert torch.equal(getattr(found, name)[0], getattr(without, name)[0])
        if how != "sample":  # all rows share one stream of draws
            assert torch.equal(getattr(found, name)[1], getattr(whole, name)[1])
    assert float(found.weight_BPK[0, :, [1, 4]].sum()) == 0.0


@pytest.mark.parametrize("how", HOWS)
def test_a_row_that_may_select_one_code_takes_it_whole(how: Evaluation) -> None:
    quantizer = build(codes=4).eval()
    found = quantizer(normal(4, 2, 3, seed=1), how=how, allowed_BK=torch.eye(4, dtype=torch.bool))
    assert torch.equal(found.weight_BPK, torch.eye(4)[:, None].expand(-1, 2, -1))
    torch.testing.assert_close(found.vector_BPD, quantizer.codebook.code_KD[:, None].expand(-1, 2, -1))


def test_a_row_without_any_code_is_refused() -> None:
    with pytest.raises(ValueError, match="without any code"):
        build(codes=3)(normal(1, 2, 3, seed=1), allowed_BK=torch.zeros(1, 3, dtype=torch.bool))


# --- gradients ---


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("training", [True, False])
def test_gradient_is_straight_through_plus_commitment(how: Evaluation, training: bool) -> None:
    quantizer = build().train(training)
    context_BPD = normal(2, 3, 3, seed=1).requires_grad_()
    reader_BPD = normal(2, 3, 3, seed=2)
    quantized = quantizer(context_BPD, how=how, generator=torch.Generator().manual_seed(0))
    # A loss that is not linear in p^q, so that a gradient taken at p^c would show.
    loss = (quantized.vector_BPD * reader_BPD).square().sum() + 0.1 * quantized.commitment
    loss.backward()

    value, reader = rows(quantized.vector_BPD), rows(reader_BPD)
    expected = 2 * value * reader**2 + 0.1 * 2 * (rows(context_BPD) - value) / value.size
    assert context_BPD.grad is not None
    np.testing.assert_allclose(rows(context_BPD.grad), expected, rtol=1e-4, atol=1e-5)


def test_commitment_gradient_is_the_finite_difference_at_fixed_codes() -> None:
    quantizer = build().eval()
    context_BPD = normal(1, 2, 3, seed=1).requires_grad_()
    quantized = quantizer(context_BPD, how="expected")
    (gradient_BPD,) = torch.autograd.grad(quantized.commitment, context_BPD)
    vector_ND = rows(context_BPD)
    # p^q is held: the stop-gradient says that commitment moves p^c to its codes, not the selection.
    quantized_ND = slow_quantized(rows(quantized.weight_BPK), quantizer.codebook.code_KD.double().numpy())
    for index in np.ndindex(vector_ND.shape):
        step = np.zeros_like(vector_ND)
        step[index] = 1e-5
        slope = (slow_commitment(vector_ND + step, quantized_ND) - slow_commitment(vector_ND - step, quantized_ND)) / 2e-5
        assert rows(gradient_BPD)[index] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_nothing_in_the_quantizer_is_a_parameter_or_carries_a_gradient() -> None:
    quantizer = build().train()
    assert list(quantizer.parameters()) == []
    quantized = quantizer(normal(2, 3, 3, seed=1).requires_grad_())
    assert not quantized.weight_BPK.requires_grad
    assert not any(buffer.requires_grad for buffer in quantizer.buffers())
    assert set(quantizer.state_dict()) == {
        f"codebook.{name}" for name in ("code_KD", "count_K", "sum_KD", "temperature", "steps")
    }


def test_two_forwards_may_come_before_one_backward() -> None:
    # The second forward moves the codes in place; what the first saved for its backward must not be among them.
    quantizer = build().train()
    context_BPD = normal(2, 3, 3, seed=1).requires_grad_()
    first = quantizer(context_BPD, generator=torch.Generator().manual_seed(0))
    second = quantizer(context_BPD, generator=torch.Generator().manual_seed(1))
    (first.vector_BPD.sum() + second.vector_BPD.sum() + first.commitment + second.commitment).backward()
    expected = 2 + 2 * (2 * context_BPD - first.vector_BPD - second.vector_BPD).detach() / 18
    assert context_BPD.grad is not None
    torch.testing.assert_close(context_BPD.grad, expected, rtol=1e-4, atol=1e-5)


# --- precision ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_selection_is_in_fp32_and_the_vector_in_the_inputs_dtype(dtype: torch.dtype, training: bool) -> None:
    context_BPD = normal(2, 3, 3, seed=1).to(dtype)
    found = build().train(training)(context_BPD, generator=torch.Generator().manual_seed(0))
    exact = build().train(training)(context_BPD.float(), generator=torch.Generator().manual_seed(0))
    assert (found.vector_BPD.dtype, found.weight_BPK.dtype, found.commitment.dtype) == (dtype, torch.float32, torch.float32)
    assert torch.equal(found.weight_BPK, exact.weight_BPK)
    assert torch.equal(found.vector_BPD, exact.vector_BPD.to(dtype))
    assert torch.equal(found.commitment, exact.commitment)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("training", [True, False])
def test_autocast_changes_neither_selection_nor_averages(how: Evaluation, training: bool) -> None:
    # Norms of 100, where bf16 would round squared distances to multiples of 64.
    context_BPD = 100 * normal(4, 3, 16, seed=1)
    found = []
    for enabled in (False, True):
        quantizer = build(codes=8, dim=16, temperature=2000.0).train(training)
        quantizer.codebook.code_KD.mul_(100)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found.append((quantizer(context_BPD, how=how, generator=torch.Generator().manual_seed(0)), state_of(quantizer)))
    (plain, plain_state), (cast, cast_state) = found
    assert all(torch.equal(one, two) for one, two in zip(plain, cast, strict=True))
    assert all(torch.equal(plain_state[name], cast_state[name]) for name in plain_state)


def test_a_cast_module_selects_as_before() -> None:
    context_BPD = normal(2, 3, 3, seed=1)
    expected = build().eval()(context_BPD)
    for cast in (build().eval().bfloat16(), build().eval().half(), build().eval().to(torch.float64)):
        assert torch.equal(cast(context_BPD).weight_BPK, expected.weight_BPK)


# --- training steps ---


@pytest.mark.parametrize("how", HOWS)
def test_the_averages_take_the_weights_of_the_same_forward(how: Evaluation) -> None:
    quantizer = build(decay=0.9).train()
    context_BPD = normal(2, 3, 3, seed=1)
    weight_NK = quantizer(context_BPD, how=how).weight_BPK.flatten(0, 1)
    torch.testing.assert_close(quantizer.codebook.count_K, 0.9 + 0.1 * weight_NK.sum(0))
    expected_KD = 0.9 * normal(6, 3, seed=0) + 0.1 * weight_NK.T @ context_BPD.flatten(0, 1)
    torch.testing.assert_close(quantizer.codebook.sum_KD, expected_KD)


def test_commitment_is_the_function_of_the_same_name() -> None:
    context_BPD = normal(2, 3, 3, seed=1)
    quantized = build().train()(context_BPD)
    torch.testing.assert_close(quantized.commitment, commitment_loss(context_BPD, quantized.vector_BPD))
