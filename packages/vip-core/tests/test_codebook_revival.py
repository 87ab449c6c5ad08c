"""Revival of dead codes: which, where to, and that code, count and sum go together."""

from typing import Any

import pytest
import torch
from torch import Tensor
from vip_core import Codebook, Quantizer, QuantizerConfig
from vip_core.codebook import Seen


def config(**values: Any) -> QuantizerConfig:
    return QuantizerConfig(**({"codes": 4, "draws": 5, "temperature": 1.0, "warmup_steps": 0, "revive_below": 0.0} | values))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_counts(count_K: list[float], dim: int, **values: Any) -> Codebook:
    codebook = Codebook(config(codes=len(count_K), **values), normal(len(count_K), dim, seed=0))
    codebook.count_K.copy_(torch.tensor(count_K))
    codebook.sum_KD.copy_(codebook.count_K[:, None] * codebook.code_KD)
    return codebook


def no_draws(rows: int, codes: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors that draw nothing: counts decay alike, so their order of size is the test's."""
    return 50 + normal(rows, dim, seed=1), torch.zeros(rows, codes), torch.zeros(rows)


@pytest.mark.parametrize("ema", ["mean", "reference"])
def test_dead_codes_restart_at_current_vectors_with_count_and_sum(ema: str) -> None:
    # The mean count is 2, so the threshold is 1: codes 1 and 4 are dead.
    codebook = with_counts([2.0, 0.5, 3.5, 3.0, 0.01, 3.0], 3, decay=0.9, revive_below=0.5, ema=ema)
    vector_ND, weight_NK, nearest_N = no_draws(5, 6, 3)
    untouched = with_counts([2.0, 0.5, 3.5, 3.0, 0.01, 3.0], 3, decay=0.9, revive_below=0.0, ema=ema)
    untouched.update_(Seen(vector_ND, weight_NK, nearest_N), None)
    codebook.update_(Seen(vector_ND, weight_NK, nearest_N), torch.Generator().manual_seed(0))

    alive, dead = [0, 2, 3, 5], [1, 4]
    for name in ("code_KD", "count_K", "sum_KD"):
        assert torch.equal(getattr(codebook, name)[alive], getattr(untouched, name)[alive])
    mean_count = untouched.count_K.mean()
    torch.testing.assert_close(codebook.count_K[dead], mean_count.expand(2))
    restarted = [vector_ND.eq(codebook.code_KD[k]).all(1).nonzero().flatten().tolist() for k in dead]
    assert all(len(found) == 1 for found in restarted)
    assert restarted[0] != restarted[1]
    torch.testing.assert_close(codebook.sum_KD[dead], mean_count * codebook.code_KD[dead])


def test_the_threshold_is_a_share_of_the_mean_count_and_itself_alive() -> None:
    codebook = with_counts([0.5, 1.5, 1.0, 1.0], 2, decay=0.5, revive_below=0.5)
    before_KD = codebook.code_KD.clone()
    codebook.update_(Seen(*no_draws(3, 4, 2)), None)
    torch.testing.assert_close(codebook.code_KD, before_KD)


def test_without_a_threshold_nothing_is_revived() -> None:
    codebook = with_counts([1.0, 0.0, 1e-20], 2, revive_below=0.0)
    before_KD = codebook.code_KD.clone()
    codebook.update_(Seen(*no_draws(3, 3, 2)), None)
    torch.testing.assert_close(codebook.code_KD, before_KD)


@pytest.mark.parametrize(("rows", "revived"), [(0, 0), (1, 1), (2, 2), (7, 3)])
def test_no_more_codes_are_revived_than_there_are_vectors(rows: int, revived: int) -> None:
    codebook = with_counts([9.0, 0.0, 9.0, 0.0, 0.0], 2, revive_below=0.5)
    before_KD = codebook.code_KD.clone()
    vector_ND, weight_NK, nearest_N = no_draws(rows, 5, 2)
    codebook.update_(Seen(vector_ND, weight_NK, nearest_N), None)
    moved_K = (codebook.code_KD - before_KD).abs().amax(1) > 1
    assert moved_K.nonzero().flatten().tolist() == [1, 3, 4][:revived]


def test_at_most_64_codes_are_revived_in_a_step() -> None:
    codebook = with_counts([9.0] + [0.0] * 99, 2, revive_below=0.5)
    before_KD = codebook.code_KD.clone()
    codebook.update_(Seen(*no_draws(200, 100, 2)), None)
    assert ((codebook.code_KD - before_KD).abs().amax(1) > 1).sum().item() == 64


def test_a_revived_code_is_kept_by_the_next_step_and_drawn_again() -> None:
    quantizer = Quantizer(config(codes=3, revive_below=0.5, decay=0.9), torch.tensor([[0.0], [1.0], [500.0]])).train()
    quantizer.codebook.count_K[2] = 0.01
    quantizer.codebook.sum_KD[2] = 5.0
    context_BPD = torch.tensor([[[100.0]]])
    quantizer(context_BPD)
    assert quantizer.codebook.code_KD[2].item() == 100.0
    assert quantizer(context_BPD).weight_BPK.argmax().item() == 2
    assert quantizer.codebook.code_KD[2].item() == pytest.approx(100.0, rel=1e-6)


def test_the_generator_chooses_the_vectors() -> None:
    def revived(seed: int) -> Tensor:
        codebook = with_counts([9.0, 0.0, 0.0], 2, revive_below=0.5)
        codebook.update_(Seen(*no_draws(50, 3, 2)), torch.Generator().manual_seed(seed))
        return codebook.code_KD

    assert torch.equal(revived(0), revived(0))
    assert not torch.equal(revived(0), revived(1))
