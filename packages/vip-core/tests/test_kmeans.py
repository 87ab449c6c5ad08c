"""Squared distances and Lloyd's k-means against plain float64 loops."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from vip_core.kmeans import kmeans, squared_distance

Array = NDArray[np.float64]


def slow_squared_distance(row_RD: Array, code_KD: Array) -> Array:
    """Sum of squared differences, one pair at a time."""
    return np.array([[sum((a - b) ** 2 for a, b in zip(row, code, strict=True)) for code in code_KD] for row in row_RD])


def slow_kmeans(row_RD: Array, codes: int, iterations: int) -> Array:
    """Lloyd's algorithm from the first rows, one row at a time."""
    centre_KD = np.array([row_RD[k % len(row_RD)] for k in range(codes)])
    for _ in range(iterations):
        members: list[list[Array]] = [[] for _ in range(codes)]
        for row, distance_K in zip(row_RD, slow_squared_distance(row_RD, centre_KD), strict=True):
            members[int(np.argmin(distance_K))].append(row)
        centre_KD = np.array([np.mean(rows, axis=0) if rows else old for rows, old in zip(members, centre_KD, strict=True)])
    return centre_KD


def blobs(*, seed: int, clusters: int, per_cluster: int, dim: int, apart: float) -> tuple[Tensor, Tensor]:
    """Rows in random order around far-apart centres, and for each row the mean of its cluster's rows."""
    generator = torch.Generator().manual_seed(seed)
    cluster_R = torch.arange(clusters).repeat_interleave(per_cluster)
    direction_KD = torch.nn.functional.normalize(torch.randn(clusters, dim, generator=generator), dim=1)
    row_RD = apart * direction_KD[cluster_R] + torch.randn(len(cluster_R), dim, generator=generator)
    mean_KD = torch.stack([row_RD[cluster_R == k].mean(0) for k in range(clusters)])
    order_R = torch.randperm(len(cluster_R), generator=generator)
    return row_RD[order_R], mean_KD[cluster_R[order_R]]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 5),
    codes=st.integers(1, 5),
    dim=st.integers(1, 9),
    scale=st.sampled_from([1e-3, 1.0, 100.0]),
    seed=st.integers(0, 99),
)
def test_squared_distance_is_the_sum_of_squared_differences(rows: int, codes: int, dim: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    row_RD = scale * torch.randn(rows, dim, generator=generator)
    code_KD = scale * torch.randn(codes, dim, generator=generator)
    distance_RK = squared_distance(row_RD, code_KD)
    expected_RK = slow_squared_distance(row_RD.double().numpy(), code_KD.double().numpy()).reshape(rows, codes)
    # The error of |a|² - 2ab + |b|² is relative to the squared norms, not to the distance.
    np.testing.assert_allclose(distance_RK.numpy(), expected_RK, rtol=0, atol=1e-5 * scale**2 * dim)


def test_squared_distance_is_never_negative() -> None:
    # Without the clamp, rounding puts about half of these below zero.
    row_RD = 100 * torch.randn(200, 33, generator=torch.Generator().manual_seed(0))
    assert squared_distance(row_RD, row_RD).min().item() >= 0.0


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("iterations", [0, 1, 10])
def test_kmeans_is_lloyds_algorithm_from_the_first_rows(seed: int, iterations: int) -> None:
    row_RD = torch.randn(40, 3, generator=torch.Generator().manual_seed(seed))
    centre_KD = kmeans(row_RD, 6, iterations=iterations)
    np.testing.assert_allclose(centre_KD.numpy(), slow_kmeans(row_RD.double().numpy(), 6, iterations), rtol=0, atol=1e-5)


def test_kmeans_finds_clusters_it_starts_in() -> None:
    row_RD, mean_RD = blobs(seed=0, clusters=3, per_cluster=20, dim=8, apart=100.0)
    first_of_each = [int((mean_RD == mean).all(1).nonzero()[0]) for mean in mean_RD.unique(dim=0)]
    order_R = first_of_each + [row for row in range(len(row_RD)) if row not in first_of_each]
    centre_KD = kmeans(row_RD[order_R], 3)
    torch.testing.assert_close(centre_KD, mean_RD[first_of_each], rtol=0, atol=1e-4)


def test_kmeans_never_gets_worse() -> None:
    row_RD = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    error = [squared_distance(row_RD, kmeans(row_RD, 5, iterations=i)).min(1).values.sum().item() for i in range(8)]
    assert all(after <= before + 1e-4 for before, after in itertools.pairwise(error))
    assert error[-1] < error[0]


def test_one_code_is_the_mean() -> None:
    row_RD = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kmeans(row_RD, 1), row_RD.mean(0, keepdim=True))


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_with_fewer_rows_than_codes_the_rows_are_repeated(rows: int) -> None:
    row_RD = 10 * torch.randn(rows, 4, generator=torch.Generator().manual_seed(0))
    centre_KD = kmeans(row_RD, 5)
    torch.testing.assert_close(centre_KD, row_RD[torch.arange(5) % rows])


def test_a_centre_that_loses_all_rows_stays_where_it_is() -> None:
    # The second centre starts as a copy of the first and loses every tie: a mean over no rows would be 0/0.
    row_RD = torch.tensor([[2.0], [2.0], [10.0], [5.0]])
    assert kmeans(row_RD, 3, iterations=1).flatten().tolist() == [3.0, 2.0, 10.0]


def test_kmeans_changes_nothing_it_is_given_and_repeats_itself() -> None:
    row_RD = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    before_RD = row_RD.clone()
    assert torch.equal(kmeans(row_RD, 4), kmeans(row_RD, 4))
    assert torch.equal(row_RD, before_RD)


@pytest.mark.parametrize(("valid", "codes"), [(7, 3), (2, 5), (1, 1)])
def test_rows_that_do_not_count_change_nothing(valid: int, codes: int) -> None:
    row_RD = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    row_RD[valid:] += 100.0
    torch.testing.assert_close(kmeans(row_RD, codes, valid=torch.tensor(valid)), kmeans(row_RD[:valid], codes))
