"""Usage, perplexity and share of codes in use, on distributions known by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_core import entropy, mutual_information, perplexity, rollout, usage, used_share


def test_usage_is_each_codes_share_of_all_weight() -> None:
    weight_BPK = torch.tensor([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], [[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]]])
    torch.testing.assert_close(usage(weight_BPK), torch.tensor([2.5, 0.75, 0.75]) / 4)


def test_usage_of_weights_added_up_over_batches_weighs_batches_by_size() -> None:
    first_BPK, second_BPK = torch.eye(4)[None, :1], torch.eye(4)[None, 1:]
    torch.testing.assert_close(usage(torch.cat([first_BPK, second_BPK], dim=1)), torch.full((4,), 0.25))


@pytest.mark.parametrize("shape", [(2, 3, 5), (0, 3, 5)])
def test_nothing_selected_is_no_usage(shape: tuple[int, int, int]) -> None:
    usage_K = usage(torch.zeros(shape))
    assert usage_K.tolist() == [0.0] * 5
    assert perplexity(usage_K).item() == 1.0
    assert used_share(usage_K).item() == 0.0


def test_usage_is_summed_in_fp32() -> None:
    # In bf16 a sum of ones stops at 256.
    usage_K = usage(torch.ones(1000, 1, 2, dtype=torch.bfloat16) * torch.tensor([1.0, 0.0], dtype=torch.bfloat16))
    assert usage_K.dtype == torch.float32
    assert usage_K.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("codes", [1, 2, 100])
def test_perplexity_runs_from_one_to_the_number_of_codes(codes: int) -> None:
    torch.testing.assert_close(perplexity(torch.full((codes,), 1 / codes)).item(), float(codes), rtol=1e-5, atol=0)
    assert perplexity(torch.eye(codes)[0]).item() == 1.0


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12).filter(lambda shares: sum(shares) > 1e-3))
def test_perplexity_is_exp_of_the_entropy(shares: list[float]) -> None:
    share_K = [share / sum(shares) for share in shares]
    expected = math.exp(-sum(share * math.log(share) for share in share_K if share > 0))
    assert perplexity(torch.tensor(share_K)).item() == pytest.approx(expected, rel=1e-4)


def test_used_share_counts_codes_of_at_least_the_least_weight() -> None:
    usage_K = torch.tensor([0.5, 0.4999, 1e-4, 0.0])
    assert used_share(usage_K).item() == 0.75
    assert used_share(usage_K, least=0.5).item() == 0.25


def test_entropy_is_in_bits_over_the_last_axis() -> None:
    weight_BPK = torch.tensor([[[1.0, 1.0, 0.0], [5.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [1.0, 1.0, 2.0]]])
    found_BP = entropy(weight_BPK)
    assert found_BP.dtype == torch.float64
    torch.testing.assert_close(found_BP, torch.tensor([[1.0, 0.0], [0.0, 1.5]], dtype=torch.float64))


def oracle_information(joint_GK: np.ndarray) -> float:
    """Σ p(g, k) log2 (p(g, k) / (p(g) p(k)))."""
    share_GK = joint_GK.astype(np.float64) / joint_GK.sum()
    bits = 0.0
    for g in range(share_GK.shape[0]):
        for k in range(share_GK.shape[1]):
            if share_GK[g, k] > 0:
                bits += share_GK[g, k] * np.log2(share_GK[g, k] / (share_GK[g].sum() * share_GK[:, k].sum()))
    return float(bits)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 6), st.integers(0, 2**31))
def test_mutual_information_is_its_definition(groups: int, prompt: int, codes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    joint_GPK = rng.random((groups, prompt, codes)) * (rng.random((groups, prompt, codes)) < 0.7) + 1e-3
    expected_P = [oracle_information(joint_GPK[:, token]) for token in range(prompt)]
    np.testing.assert_allclose(mutual_information(torch.from_numpy(joint_GPK)).numpy(), expected_P, atol=1e-10)


def test_mutual_information_runs_from_nothing_to_the_entropy_of_the_groups() -> None:
    assert mutual_information(torch.eye(4)[:, None]).item() == pytest.approx(2.0)
    assert mutual_information(torch.ones(4, 1, 9)).item() == pytest.approx(0.0, abs=1e-12)
    assert mutual_information(torch.zeros(4, 2, 9)).tolist() == [0.0, 0.0]


def test_rollout_goes_through_all_layers() -> None:
    half = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    # First layer (half + 1) / 2, then (swap + 1) / 2 of that.
    expected = torch.tensor([[0.5, 0.5], [0.5, 0.5]]) @ torch.tensor([[0.75, 0.25], [0.0, 1.0]])
    found_BLL = rollout(torch.stack([half, swap])[:, None].expand(-1, 3, -1, -1))
    torch.testing.assert_close(found_BLL, expected.expand(3, -1, -1))
    torch.testing.assert_close(rollout(torch.eye(2)[None, None]), torch.eye(2)[None])
