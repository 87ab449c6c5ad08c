"""The automatic temperature: entropies against their definition, and that a vector takes about two codes on hard sets."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from vip_core import Quantizer, QuantizerConfig, entropy
from vip_core.kmeans import squared_distance
from vip_core.temperature import corrected, softmax_entropy, solve, wanted_entropy


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e3])
def test_entropy_of_a_softmax_is_its_definition(scale: float) -> None:
    logit_RK = scale * normal(7, 5, seed=0)
    logit_RK -= logit_RK.amax(1, keepdim=True)
    share_RK = np.exp(logit_RK.double().numpy())
    share_RK /= share_RK.sum(1, keepdims=True)
    expected_R = -(share_RK * np.log(np.maximum(share_RK, 1e-300))).sum(1)
    np.testing.assert_allclose(softmax_entropy(logit_RK, logit_RK.softmax(1)).numpy(), expected_R, atol=1e-6)


@pytest.mark.parametrize(("codes", "wanted"), [(1, 1.0), (2, 1.5), (3, 2.0), (1000, 2.0)])
def test_few_codes_want_less(codes: int, wanted: float) -> None:
    assert wanted_entropy(codes) == pytest.approx(math.log(wanted))


def test_a_correction_goes_the_right_way_by_what_is_missing() -> None:
    tau = torch.tensor(5.0)
    assert corrected(tau, torch.tensor(math.log(2.0)), 10, 0.1).item() == pytest.approx(5.0)
    assert corrected(tau, torch.tensor(0.0), 10, 0.1).item() == pytest.approx(5.0 * 2**0.1)
    assert corrected(tau, torch.tensor(math.log(10.0)), 10, 0.1).item() == pytest.approx(5.0 * 5**-0.1)


@pytest.mark.parametrize("start", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("codes", [2, 3, 50])
def test_it_is_solved_for_from_anywhere(start: float, codes: int) -> None:
    distance_RK = squared_distance(normal(200, 6, seed=0), normal(codes, 6, seed=1))
    counts_R = (torch.arange(200) < 150).float()
    tau = solve(distance_RK, counts_R, torch.tensor(start))
    entropy_R = entropy((-distance_RK[:150] / tau).softmax(1)) * math.log(2)
    assert entropy_R.mean().item() == pytest.approx(wanted_entropy(codes), rel=0.02)


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
def test_a_vector_takes_about_two_codes_however_far_a_few_others_lie(vectors: object, dim: int) -> None:
    generator = torch.Generator().manual_seed(0)
    quantizer = Quantizer(QuantizerConfig(codes=40, warmup_steps=1), torch.randn(40, dim, generator=generator)).train()
    for _ in range(150):
        quantizer(vectors(160, dim, generator)[:, None], generator=generator)  # type: ignore[operator]
    found = quantizer.eval()(vectors(160, dim, generator)[:, None])  # type: ignore[operator]
    assert 2 ** entropy(found.weight_BPK).mean().item() < 3


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
    assert quantizer.codebook.temperature.item() > 1e-7
