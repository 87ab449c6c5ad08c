"""Squared distances and Lloyd's k-means in plain torch. R rows, D width, K codes."""

import torch
from torch import Tensor


def squared_distance(row_RD: Tensor, code_KD: Tensor) -> Tensor:
    """||row - code||² for every pair, [R, K], never negative, without an R x K x D intermediate."""
    cross_RK = row_RD @ code_KD.T
    return (row_RD.square().sum(1, keepdim=True) - 2 * cross_RK + code_KD.square().sum(1)).clamp_min(0)


def margin(distance_RK: Tensor) -> Tensor:
    """Half of how much farther the second nearest code is than the nearest, [R]; zero with a single code."""
    nearest_R2 = distance_RK.topk(min(2, distance_RK.shape[1]), dim=1, largest=False).values
    return (nearest_R2[:, -1] - nearest_R2[:, 0]) / 2


def kmeans(row_RD: Tensor, codes: int, *, iterations: int = 10) -> Tensor:
    """Cluster centres [K, D] of the rows, by Lloyd's algorithm from the first K rows. Deterministic.

    With fewer rows than codes the rows are repeated; a centre that loses all its rows stays where it is.

    Args:
        row_RD: at least one row, in random order.
        codes: K.
        iterations: rounds of assignment and averaging.
    """
    centre_KD = row_RD[torch.arange(codes, device=row_RD.device) % len(row_RD)].clone()
    for _ in range(iterations):
        nearest_R = squared_distance(row_RD, centre_KD).argmin(1)
        size_K = torch.bincount(nearest_R, minlength=codes).to(row_RD.dtype)
        total_KD = torch.zeros_like(centre_KD).index_add_(0, nearest_R, row_RD)
        centre_KD = torch.where(size_K[:, None] > 0, total_KD / size_K.clamp_min(1)[:, None], centre_KD)
    return centre_KD
