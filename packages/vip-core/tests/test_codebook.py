"""The codebook's moving averages and automatic temperature against slow float64 loops."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from vip_core import Codebook, Quantizer, QuantizerConfig
from vip_core.codebook import Seen

Array = NDArray[np.float64]
EMAS = ["mean", "reference"]


class Slow(NamedTuple):
    """The oracle's state."""

    code_KD: Array
    count_K: Array
    sum_KD: Array


def slow_start(code_KD: Array, ema: str) -> Slow:
    codes = len(code_KD)
    count_K = np.full(codes, 1.0 if ema == "mean" else 1.0 / codes)
    return Slow(code_KD, count_K, np.array([count_K[k] * code_KD[k] for k in range(codes)]))


def slow_update(state: Slow, vector_ND: Array, weight_NK: Array, decay: float, ema: str) -> Slow:
    """One step of DESIGN's equations, one code at a time."""
    codes = len(state.code_KD)
    drawn_K = [sum(weight_NK[n, k] for n in range(len(vector_ND))) for k in range(codes)]
    drawn_KD = [
        sum((weight_NK[n, k] * vector_ND[n] for n in range(len(vector_ND))), 0 * state.code_KD[k]) for k in range(codes)
    ]
    count_K = np.array([decay * state.count_K[k] + (1 - decay) * drawn_K[k] for k in range(codes)])
    if ema == "mean":
        sum_KD = np.array([decay * state.sum_KD[k] + (1 - decay) * drawn_KD[k] for k in range(codes)])
        return Slow(np.array([sum_KD[k] / count_K[k] for k in range(codes)]), count_K, sum_KD)
    total = count_K.sum()
    count_K = np.array([(count_K[k] + 1e-2) / (total + codes * 1e-2) * total for k in range(codes)])
    code_KD = np.array([decay * state.code_KD[k] + (1 - decay) * drawn_KD[k] / count_K[k] for k in range(codes)])
    return Slow(code_KD, count_K, count_K[:, None] * code_KD)


def config(**values: Any) -> QuantizerConfig:
    return QuantizerConfig(**({"codes": 4, "draws": 5, "temperature": 1.0, "warmup_steps": 0, "revive_below": 0.0} | values))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def batch(rows: int, codes: int, dim: int, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, weights that are counts out of five draws, and some nearest distances."""
    generator = torch.Generator().manual_seed(seed)
    drawn_NM = torch.randint(codes, (rows, 5), generator=generator)
    weight_NK = torch.nn.functional.one_hot(drawn_NM, codes).sum(1) / 5
    return torch.randn(rows, dim, generator=generator) + 2, weight_NK, torch.rand(rows, generator=generator)


def assert_matches(codebook: Codebook, slow: Slow, *, rtol: float) -> None:
    np.testing.assert_allclose(codebook.count_K.numpy(), slow.count_K, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(codebook.code_KD.numpy(), slow.code_KD, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(codebook.sum_KD.numpy(), slow.sum_KD, rtol=rtol, atol=rtol)


# --- moving averages ---


@pytest.mark.parametrize("ema", EMAS)
@pytest.mark.parametrize("steps", [1, 40])
@pytest.mark.parametrize(("rows", "codes", "dim"), [(6, 4, 3), (1, 1, 1), (3, 9, 2)])
def test_updates_are_the_moving_averages(ema: str, steps: int, rows: int, codes: int, dim: int) -> None:
    start_KD = normal(codes, dim, seed=0)
    codebook = Codebook(config(codes=codes, ema=ema, decay=0.95), start_KD)
    slow = slow_start(start_KD.double().numpy(), ema)
    for step in range(steps):
        vector_ND, weight_NK, nearest_N = batch(rows, codes, dim, seed=step)
        codebook.update_(Seen(vector_ND, weight_NK, nearest_N), None)
        slow = slow_update(slow, vector_ND.double().numpy(), weight_NK.double().numpy(), 0.95, ema)
    # `mean` smooths by a pseudo-count of 1e-5 where it divides, the oracle does not: 1e-5 over the smallest count.
    assert_matches(codebook, slow, rtol=2e-4 if ema == "mean" else 1e-5)


@pytest.mark.parametrize("ema", EMAS)
def test_training_forwards_are_the_moving_averages_of_what_they_drew(ema: str) -> None:
    start_KD = normal(6, 3, seed=0)
    quantizer = Quantizer(config(codes=6, ema=ema, decay=0.9), start_KD).train()
    slow = slow_start(start_KD.double().numpy(), ema)
    generator = torch.Generator().manual_seed(0)
    for step in range(25):
        context_BPD = normal(2, 3, 3, seed=step)
        before_KD = quantizer.codebook.code_KD.double().numpy().copy()
        quantized = quantizer(context_BPD, generator=generator)
        weight_NK = quantized.weight_BPK.flatten(0, 1).double().numpy()
        # p^q comes from the codes before this update.
        np.testing.assert_allclose(quantized.vector_BPD.flatten(0, 1).numpy(), weight_NK @ before_KD, rtol=1e-5, atol=1e-5)
        slow = slow_update(slow, context_BPD.flatten(0, 1).double().numpy(), weight_NK, 0.9, ema)
    assert_matches(quantizer.codebook, slow, rtol=2e-4)


@pytest.mark.parametrize("ema", EMAS)
def test_counts_settle_at_the_rows_of_a_batch(ema: str) -> None:
    codebook = Codebook(config(ema=ema, decay=0.9), normal(4, 3, seed=0))
    for step in range(200):
        codebook.update_(Seen(*batch(12, 4, 3, seed=step)), None)
    assert codebook.count_K.sum().item() == pytest.approx(12.0, rel=1e-5)


def toy(ema: str) -> dict[int, float]:
    """1000 codes at 0 and 3200 vectors at 1 that all codes draw alike: where the codes are after each step."""
    codebook = Codebook(config(codes=1000, ema=ema, decay=0.99), torch.zeros(1000, 1))
    # 3200 equal rows of weight 1/1000, added up beforehand: nothing but their sums enters the averages.
    vector_ND, weight_NK = torch.ones(1, 1), torch.full((1, 1000), 3.2)
    found: dict[int, float] = {}
    for step in range(1, 501):
        codebook.update_(Seen(vector_ND, weight_NK, torch.ones(1)), None)
        found[step] = codebook.code_KD.mean().item()
    return found


def test_the_released_average_overshoots_threefold() -> None:
    found = toy("reference")
    assert {step: round(found[step], 2) for step in (1, 5, 50, 500)} == {1: 0.97, 5: 2.19, 50: 3.23, 500: 1.06}


def test_the_mean_reaches_the_truth_without_overshooting() -> None:
    found = toy("mean")
    assert max(found.values()) <= 1.0 + 1e-5
    assert all(found[step] < found[step + 1] + 1e-6 for step in range(1, 500))
    # From n = 1 at 0: 3.2 (1 - λ^t) / (λ^t + 3.2 (1 - λ^t)).
    for step in (1, 50, 500):
        left = 0.99**step
        assert found[step] == pytest.approx(3.2 * (1 - left) / (left + 3.2 * (1 - left)), rel=1e-3)
    assert found[500] == pytest.approx(1.0, abs=3e-3)


def use_only_the_first(codebook: Codebook, steps: int) -> None:
    codes, dim = codebook.code_KD.shape
    weight_NK = torch.zeros(3, codes)
    weight_NK[:, 0] = 1.0
    for step in range(steps):
        codebook.update_(Seen(normal(3, dim, seed=step), weight_NK, torch.ones(3)), None)


@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_an_unused_code_of_the_mean_stays_exactly_where_it_is(decay: float) -> None:
    start_KD = 10 * normal(20, 8, seed=0)
    codebook = Codebook(config(codes=20, decay=decay), start_KD)
    use_only_the_first(codebook, 500)
    # First to the rounding of a few divisions, then to the bit.
    torch.testing.assert_close(codebook.code_KD[1:], start_KD[1:], rtol=3e-6, atol=0)
    assert torch.equal(codebook.code_KD[1:], start_KD[1:])
    assert not torch.equal(codebook.code_KD[0], start_KD[0])


def test_an_unused_code_of_the_release_shrinks_to_nothing() -> None:
    codebook = Codebook(
        config(codes=20, ema="reference", decay=0.99), 100 * torch.nn.functional.normalize(normal(20, 8, seed=0))
    )
    use_only_the_first(codebook, 100)
    torch.testing.assert_close(codebook.code_KD[1:].norm(dim=1), torch.full((19,), 36.6), rtol=0, atol=0.05)
    use_only_the_first(codebook, 400)
    torch.testing.assert_close(codebook.code_KD[1:].norm(dim=1), torch.full((19,), 0.657), rtol=0, atol=1e-3)


def test_an_unused_code_survives_until_its_count_underflows() -> None:
    # 0.5^200 is zero in fp32: 0/0 without the smoothing.
    start_KD = normal(3, 2, seed=0)
    codebook = Codebook(config(codes=3, decay=0.5), start_KD)
    use_only_the_first(codebook, 200)
    assert codebook.count_K[1:].tolist() == [0.0, 0.0]
    torch.testing.assert_close(codebook.code_KD[1:], start_KD[1:], rtol=3e-6, atol=0)


@pytest.mark.parametrize("ema", EMAS)
def test_a_batch_without_rows_is_a_step_that_moves_no_code(ema: str) -> None:
    codebook = Codebook(config(ema=ema, temperature="auto", decay=0.9, revive_below=0.5), normal(4, 3, seed=0))
    before = state_of(codebook)
    codebook.update_(Seen(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0)), None)
    torch.testing.assert_close(codebook.count_K, 0.9 * before["count_K"])
    torch.testing.assert_close(codebook.code_KD, before["code_KD"] * (1.0 if ema == "mean" else 0.9))
    assert torch.equal(codebook.temperature, before["temperature"])


# --- automatic temperature ---


def test_a_given_temperature_never_moves() -> None:
    codebook = Codebook(config(temperature=7.5), normal(4, 3, seed=0))
    codebook.update_(Seen(*batch(6, 4, 3, seed=0)), None)
    assert codebook.temperature.item() == 7.5


def test_temperature_starts_at_the_spread_of_the_codes() -> None:
    code_KD = normal(5, 3, seed=0)
    slow = code_KD.double().numpy()
    expected = np.mean([((row - slow.mean(0)) ** 2).sum() for row in slow])
    assert Codebook(config(codes=5, temperature="auto"), code_KD).temperature.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("codes", [1, 3])
def test_temperature_of_codes_in_one_place_starts_at_their_squared_norm(codes: int) -> None:
    code_KD = torch.tensor([[3.0, 4.0]]).repeat(codes, 1)
    assert Codebook(config(codes=codes, temperature="auto"), code_KD).temperature.item() == 25.0


def test_temperature_moves_towards_the_wanted_mixing() -> None:
    quantizer = Quantizer(config(temperature="auto", decay=0.9), normal(4, 3, seed=0)).train()
    expected = quantizer.codebook.temperature.item()
    for step in range(30):
        context_BPD = normal(2, 3, 3, seed=step)
        code_KD = quantizer.codebook.code_KD.double().numpy()
        quantizer(context_BPD, generator=torch.Generator().manual_seed(step))
        found = []
        for row in context_BPD.flatten(0, 1).double().numpy():
            distance_K = np.array([((row - code) ** 2).sum() for code in code_KD])
            share_K = np.exp(-distance_K / expected)
            share_K /= share_K.sum()
            entropy = -(share_K * np.log(share_K)).sum()
            farther = 1 - distance_K.min() / (share_K * distance_K).sum()
            found.append(max(entropy, 2 * np.log(2) * farther))
        expected *= np.exp((1 - 0.9) * (np.log(2) - np.mean(found)))
        assert quantizer.codebook.temperature.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dim", [2, 8, 64])
def test_an_automatic_temperature_keeps_codes_apart(dim: int) -> None:
    # Soft assignment pulls all codes to one place where τ is over twice the largest variance of the vectors along a direction
    # (Rose, 1998, on deterministic annealing); each is then drawn alike, so neither perplexity nor revival tells.
    quantizer = Quantizer(
        config(codes=10, draws=10, temperature="auto", warmup_steps=1, decay=0.9, revive_below=0.05), normal(10, dim, seed=0)
    )
    spreads = []
    generator = torch.Generator().manual_seed(0)
    for step in range(200):
        quantizer.train()(normal(8, 8, dim, seed=step), generator=generator)
        code_KD = quantizer.codebook.code_KD
        spreads.append((code_KD - code_KD.mean(0)).square().sum(1).mean().item())
    assert spreads[-1] > 0.2 * spreads[1]
