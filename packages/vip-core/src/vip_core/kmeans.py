"""Squared distances and Lloyd's k-means in plain torch. R rows, D width, K codes."""

import torch
from torch import Tensor


def squared_distance(row_RD: Tensor, code_KD: Tensor) -> Tensor:
    """||row - code||² for every pair, [R, K], never negative. That matrix is all it needs in memory."""
    distance_RK = torch.addmm(code_KD.square().sum(1), row_RD, code_KD.T, alpha=-2)
    return distance_RK.add_(row_RD.square().sum(1, keepdim=True)).clamp_min_(0)


def kmeans(row_RD: Tensor, codes: int, *, valid: Tensor | None = None, iterations: int = 10) -> Tensor:
    """Cluster centres [K, D] of the rows, by Lloyd's algorithm from the first K rows. Deterministic.

    With fewer rows than codes the rows are repeated; a centre that loses all its rows stays where it is.

    Args:
        row_RD: at least one row, in random order.
        codes: K.
        valid: how many rows count, a whole number on the device, so that nobody waits for it; the first ones do. All when None.
        iterations: rounds of assignment and averaging.
    """
    index_R = torch.arange(len(row_RD), device=row_RD.device)
    valid = torch.full_like(index_R[0], len(row_RD)) if valid is None else valid
    counts_R = (index_R < valid).to(row_RD.dtype)
    counted_RD = row_RD * counts_R[:, None]
    centre_KD = row_RD[torch.arange(codes, device=row_RD.device) % valid.clamp_min(1)]
    for _ in range(iterations):
        nearest_R = squared_distance(row_RD, centre_KD).argmin(1)
        # Not bincount: on a GPU it waits for the largest number.
        size_K = counts_R.new_zeros(codes).index_add_(0, nearest_R, counts_R)
        total_KD = torch.zeros_like(centre_KD).index_add_(0, nearest_R, counted_RD)
        centre_KD = torch.where(size_K[:, None] > 0, total_KD / size_K.clamp_min(1)[:, None], centre_KD)
    return centre_KD
