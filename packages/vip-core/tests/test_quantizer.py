"""The quantizer against slow float64 loops: selection, p^q, commitment, gradients, sampling, precision and warm-up."""

import math
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from vip_core import Quantizer, QuantizerConfig, commitment_loss, select
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
    config = QuantizerConfig(**({"codes": codes, "draws": 5, "temperature": 4.0, "warmup_steps": 0, "revive_below": 0.0} | values))
    return Quantizer(config, normal(codes, dim, seed=seed))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(tensor: Tensor) -> Array:
    found: Array = tensor.detach().flatten(0, 1).double().numpy()
    return found


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same_state(module: torch.nn.Module, before: dict[str, Tensor]) -> None:
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


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
    # `auto` ends there by itself: k-means over no more vectors than codes puts a code on each, at a distance of 0. A vector
    # that has moved on by the next step then has no code at a finite logit.
    quantizer = build(codes=2, dim=1, temperature="auto", warmup_steps=1).train()
    context_BPD = torch.tensor([[[1.0], [2.0]]])
    for _ in range(2):
        quantizer(context_BPD)
    assert quantizer.codebook.temperature.item() == 0.0
    assert sorted(quantizer.codebook.code_KD.flatten().tolist()) == [1.0, 2.0]
    nearest_K = quantizer.codebook.code_KD.flatten() == 2.0
    weight_BPK = quantizer.eval()(context_BPD + 1 + apart, how=how).weight_BPK
    torch.testing.assert_close(weight_BPK, nearest_K.float().expand(1, 2, 2))


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
    assert set(quantizer.state_dict()) == {f"codebook.{name}" for name in ("code_KD", "count_K", "sum_KD", "temperature", "steps")}


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


# --- sampling ---


def test_frequencies_of_the_sampler_are_the_softmax() -> None:
    logit_1K = torch.tensor([[0.0, -1.0, -2.0, 1.0, -50.0]])
    share_K = np.exp(logit_1K[0].double().numpy()) / np.exp(logit_1K[0].double().numpy()).sum()
    times, draws = 4000, 10
    weight_NK = select(logit_1K.expand(times, -1), "sample", draws, torch.Generator().manual_seed(0))
    error_K = np.sqrt(share_K * (1 - share_K) / (times * draws))
    difference_K = np.abs(weight_NK.double().mean(0).numpy() - share_K)
    assert (difference_K <= 4 * error_K).all(), difference_K / error_K
    # With replacement: a row's counts are multinomial, whose variance is that of M independent draws.
    variance_K = (weight_NK.double() * draws).var(0).numpy()
    np.testing.assert_allclose(variance_K[:4], draws * share_K[:4] * (1 - share_K[:4]), rtol=0.1)


def test_expected_is_the_mean_of_many_samples() -> None:
    quantizer = build().eval()
    context_BPD = normal(1, 3, 3, seed=1)
    expected = quantizer(context_BPD, how="expected")
    times = 3000
    generator = torch.Generator().manual_seed(0)
    sampled = quantizer(context_BPD.expand(times, -1, -1), how="sample", generator=generator)
    for mean, draws in ((expected.weight_BPK[0], sampled.weight_BPK), (expected.vector_BPD[0], sampled.vector_BPD)):
        error = draws.std(0) / math.sqrt(times)
        assert ((draws.mean(0) - mean).abs() <= 4 * error + 1e-6).all()
        assert error.max() > 0


def test_a_generator_makes_draws_repeatable_and_leaves_torchs_own_alone() -> None:
    quantizer = build(revive_below=0.5).train()
    before = state_of(quantizer)
    context_BPD = normal(4, 3, 3, seed=1)
    torch.manual_seed(7)
    untouched = torch.random.get_rng_state()

    def run(seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        quantizer.load_state_dict(before)
        weight_BPK = quantizer(context_BPD, generator=torch.Generator().manual_seed(seed)).weight_BPK
        return weight_BPK, state_of(quantizer)

    (first_BPK, first), (again_BPK, again), (other_BPK, _) = run(0), run(0), run(1)
    assert torch.equal(first_BPK, again_BPK)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first_BPK, other_BPK)
    assert torch.equal(torch.random.get_rng_state(), untouched)


def test_without_a_generator_draws_follow_torchs_own() -> None:
    quantizer = build().eval()
    context_BPD = normal(4, 3, 3, seed=1)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(quantizer(context_BPD, how="sample").weight_BPK)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_training_samples_whatever_evaluation_does() -> None:
    for evaluation in HOWS:
        quantizer = build(evaluation=evaluation, draws=3)
        context_BPD = normal(4, 3, 3, seed=1)
        sampled = quantizer.train()(context_BPD, generator=torch.Generator().manual_seed(0)).weight_BPK
        by_name = build(draws=3).eval()(context_BPD, how="sample", generator=torch.Generator().manual_seed(0)).weight_BPK
        assert torch.equal(sampled, by_name)


@pytest.mark.parametrize("evaluation", HOWS)
def test_evaluation_follows_the_config_unless_told(evaluation: Evaluation) -> None:
    quantizer = build(evaluation=evaluation).eval()
    context_BPD = normal(4, 3, 3, seed=1)
    for how in (None, *HOWS):
        found = quantizer(context_BPD, how=how, generator=torch.Generator().manual_seed(0)).weight_BPK
        named = build().eval()(context_BPD, how=how or evaluation, generator=torch.Generator().manual_seed(0)).weight_BPK
        assert torch.equal(found, named)


@pytest.mark.parametrize("how", ["Expected", "mean", "argmin"])
def test_an_unknown_selection_is_an_error_not_a_sample(how: Any) -> None:
    with pytest.raises(ValueError, match=f"{how}.*'expected', 'argmax', 'sample'"):
        build().eval()(normal(1, 2, 3, seed=1), how=how)


def test_argmax_takes_the_first_of_equals() -> None:
    assert select(torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]), "argmax", 1).tolist() == [[0, 1, 0], [1, 0, 0]]


# --- evaluation ---


@pytest.mark.parametrize("how", ["expected", "argmax"])
def test_evaluation_repeats_to_the_bit_and_changes_nothing(how: Evaluation) -> None:
    quantizer = build(evaluation=how, revive_below=0.9, temperature="auto").eval()
    before = state_of(quantizer)
    context_BPD = normal(4, 3, 3, seed=1)
    first, again = quantizer(context_BPD), quantizer(context_BPD)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert_same_state(quantizer, before)


def test_sampled_evaluation_changes_nothing_either() -> None:
    quantizer = build(evaluation="sample", revive_below=0.9, temperature="auto").eval()
    before = state_of(quantizer)
    quantizer(normal(4, 3, 3, seed=1))
    assert_same_state(quantizer, before)


def test_a_row_does_not_depend_on_the_rest_of_its_batch_in_evaluation() -> None:
    quantizer = build().eval()
    context_BPD = normal(5, 3, 3, seed=1)
    whole = quantizer(context_BPD)
    for b in range(5):
        torch.testing.assert_close(quantizer(context_BPD[b : b + 1]).weight_BPK, whole.weight_BPK[b : b + 1], rtol=1e-5, atol=1e-6)


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


# --- warm-up ---


def test_warmup_passes_vectors_through_and_selects_nothing() -> None:
    quantizer = build(warmup_steps=2, temperature="auto").train()
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
    quantizer = build(warmup_steps=1).train()
    quantizer(normal(2, 3, 3, seed=0))
    before = state_of(quantizer)
    context_BPD = normal(2, 3, 3, seed=1)
    for _ in range(5):
        assert torch.equal(quantizer.eval()(context_BPD, how="argmax").vector_BPD, context_BPD)
    assert_same_state(quantizer, before)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_first_forward_after_the_warmup_starts_codes_from_its_vectors_and_uses_them(steps: int) -> None:
    quantizer = build(codes=2, dim=1, warmup_steps=steps, draws=4).train()
    context_BPD = torch.tensor([[[100.0], [200.0]]])
    for step in range(steps):
        assert quantizer(normal(1, 2, 1, seed=step)).weight_BPK.count_nonzero() == 0
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
