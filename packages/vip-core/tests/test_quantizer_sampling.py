"""How codes are selected: the sampler's distribution, generators, and evaluation that repeats to the bit."""

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from vip_core import Quantizer, QuantizerConfig, select
from vip_core.config import Evaluation

HOWS = get_args(Evaluation)


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
        torch.testing.assert_close(
            quantizer(context_BPD[b : b + 1]).weight_BPK, whole.weight_BPK[b : b + 1], rtol=1e-5, atol=1e-6
        )
