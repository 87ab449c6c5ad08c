"""The automatic temperature: mixing against its definition, and that a vector takes about two codes on hard sets."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from vip_core import Quantizer, QuantizerConfig, entropy
from vip_core.kmeans import squared_distance
from vip_core.temperature import corrected, left_out, mixing, solve, wanted


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mixing_at(distance_RK: Tensor, tau: float) -> Tensor:
    nearest_R = distance_RK.amin(1)
    logit_RK = (nearest_R[:, None] - distance_RK) / tau
    return mixing(logit_RK.softmax(1), logit_RK, nearest_R, torch.tensor(tau))


@pytest.mark.parametrize("tau", [1e-3, 0.3, 1.0, 30.0])
def test_mixing_is_its_definition(tau: float) -> None:
    distance_RK = squared_distance(normal(9, 3, seed=0), normal(5, 3, seed=1))
    slow_RK = distance_RK.double().numpy()
    share_RK = np.exp(-(slow_RK - slow_RK.min(1, keepdims=True)) / tau)
    share_RK /= share_RK.sum(1, keepdims=True)
    entropy_R = -(share_RK * np.log(np.maximum(share_RK, 1e-300))).sum(1)
    farther_R = 1 - slow_RK.min(1) / (share_RK * slow_RK).sum(1)
    expected_R = np.maximum(entropy_R, 2 * np.log(2) * farther_R)
    np.testing.assert_allclose(mixing_at(distance_RK, tau).numpy(), expected_R, rtol=1e-4, atol=1e-6)


def test_mixing_grows_with_the_temperature_and_is_bounded() -> None:
    distance_RK = squared_distance(normal(40, 3, seed=0), normal(6, 3, seed=1))
    found = [mixing_at(distance_RK, 10.0**power).mean().item() for power in range(-4, 5)]
    assert found == sorted(found)
    assert found[0] < 0.05
    assert found[-1] <= max(math.log(6), 2 * math.log(2)) + 1e-5


def test_a_vector_that_lies_on_its_code_is_mixed_as_soon_as_it_draws_another() -> None:
    distance_RK = torch.tensor([[0.0, 50.0], [0.0, 50.0]])
    assert mixing_at(distance_RK, 10.0).tolist() == pytest.approx([2 * math.log(2)] * 2)
    assert mixing_at(torch.zeros(1, 3), 1.0).item() == pytest.approx(math.log(3))


@pytest.mark.parametrize(("codes", "perplexity"), [(1, 1.0), (2, 1.5), (3, 2.0), (1000, 2.0)])
def test_few_codes_want_less(codes: int, perplexity: float) -> None:
    assert wanted(codes) == pytest.approx(math.log(perplexity))


def test_a_correction_goes_the_right_way_by_what_is_missing() -> None:
    tau = torch.tensor(5.0)
    assert corrected(tau, torch.tensor(math.log(2.0)), 10, 0.1).item() == pytest.approx(5.0)
    assert corrected(tau, torch.tensor(0.0), 10, 0.1).item() == pytest.approx(5.0 * 2**0.1)
    assert corrected(tau, torch.tensor(math.log(10.0)), 10, 0.1).item() == pytest.approx(5.0 * 5**-0.1)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("codes", [2, 3, 50])
def test_it_is_solved_for_from_anywhere(scale: float, codes: int) -> None:
    distance_RK = squared_distance(normal(200, 6, seed=0), normal(codes, 6, seed=1))
    counts_R = (torch.arange(200) < 150).float()
    tau = solve(distance_RK, counts_R, torch.tensor(scale)).item()
    assert mixing_at(distance_RK[:150], tau).mean().item() == pytest.approx(wanted(codes), rel=0.02)


def clustered(rows: int, dim: int, generator: torch.Generator) -> Tensor:
    """Thirty tight clusters, and one row in ten thirty times as far away: a mean of distances is that of the few."""
    centre_RD = 0.3 * normal(30, dim, seed=5)[torch.randint(30, (rows,), generator=generator)]
    near_RD = centre_RD + 0.02 * torch.randn(rows, dim, generator=generator)
    far_RD = 30 * torch.randn(rows, dim, generator=generator)
    return torch.where(torch.rand(rows, 1, generator=generator) < 0.1, far_RD, near_RD)


def heavy_tailed(rows: int, dim: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, dim, generator=generator) * torch.randn(rows, 1, generator=generator).abs().exp() ** 2


@pytest.mark.parametrize("vectors", [clustered, heavy_tailed])
@pytest.mark.parametrize("dim", [8, 64])
def test_a_vector_takes_about_two_codes_however_far_a_few_others_lie(
    vectors: Callable[[int, int, torch.Generator], Tensor], dim: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    quantizer = Quantizer(QuantizerConfig(codes=40, warmup_steps=1), torch.randn(40, dim, generator=generator)).train()
    for _ in range(150):
        quantizer(vectors(160, dim, generator)[:, None], generator=generator)
    found = quantizer.eval()(vectors(160, dim, generator)[:, None])
    assert 2 ** entropy(found.weight_BPK).mean().item() < 3


@pytest.mark.parametrize("apart", [10.0, 1000.0])
def test_crowds_that_lie_apart_are_never_mixed(apart: float) -> None:
    # Two crowds with hardly more than a code each: two codes per vector could only be had by taking the other crowd's.
    generator = torch.Generator().manual_seed(0)

    def crowds() -> Tensor:
        side_R = torch.randint(2, (60,), generator=generator)
        return (apart * side_R[:, None] + 0.1 * torch.randn(60, 4, generator=generator))[:, None]

    quantizer = Quantizer(QuantizerConfig(codes=3, warmup_steps=1), torch.randn(3, 4, generator=generator)).train()
    for _ in range(200):
        quantizer(crowds(), generator=generator)
    vector_ND = crowds()
    found = quantizer.eval()(vector_ND)
    assert (found.vector_BPD - vector_ND).abs().max() < 0.02 * apart + 1


def test_a_single_code_leaves_the_temperature_alone() -> None:
    quantizer = Quantizer(QuantizerConfig(codes=1, warmup_steps=0), normal(1, 4, seed=0)).train()
    before = quantizer.codebook.temperature.clone()
    for step in range(50):
        quantizer(normal(3, 2, 4, seed=step))
    assert torch.equal(quantizer.codebook.temperature, before)


def test_codes_in_one_place_do_not_take_the_temperature_to_nothing() -> None:
    quantizer = Quantizer(QuantizerConfig(codes=4, warmup_steps=0, revive_below=0.0), torch.ones(4, 3)).train()
    for _ in range(400):
        quantizer(torch.ones(3, 2, 3))
    assert quantizer.codebook.temperature.item() > 1e-9  # unbounded it would be at 1e-12


def test_a_row_is_as_far_from_its_code_as_from_the_mean_of_the_others() -> None:
    row_RD = torch.tensor([[0.0], [2.0], [7.0], [40.0], [99.0]])
    code_KD = torch.tensor([[3.0], [40.0]])  # of the first three, and of the fourth; the fifth does not count
    counts_R = torch.tensor([True, True, True, True, False])
    found = left_out(squared_distance(row_RD, code_KD), counts_R)
    of_others = [(0 - 4.5) ** 2, (2 - 3.5) ** 2, (7 - 1) ** 2]
    assert found[:3, 0].tolist() == pytest.approx(of_others)
    assert found[:3, 1].tolist() == pytest.approx([40.0**2, 38.0**2, 33.0**2])
    assert found[3].tolist() == pytest.approx([37.0**2, 37.0**2]), "alone: the farthest stands for it"


@pytest.mark.parametrize("rows", [8, 40, 320])
def test_it_starts_near_where_it_settles_however_few_vectors_start_the_codes(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    crowd_CD = 4 * torch.randn(20, 8, generator=generator)

    def vectors(count: int) -> Tensor:
        own_N = torch.randint(20, (count,), generator=generator)
        return crowd_CD[own_N] + torch.randn(count, 8, generator=generator)

    quantizer = Quantizer(QuantizerConfig(codes=40, warmup_steps=1), torch.randn(40, 8, generator=generator)).train()
    torch.manual_seed(0)
    quantizer(vectors(rows)[None])
    start = quantizer.codebook.temperature.item()
    for _ in range(200):
        quantizer(vectors(320)[None])
    assert 1 / 8 < start / quantizer.codebook.temperature.item() < 8
