"""An automatic τ: as high as it can be while a vector takes about two codes, none of them much farther than its nearest.

Two things say that τ is too high. A vector spreads over more than two codes; the perplexity of its weights is how many they
amount to, as van der Maaten and Hinton (2008) choose the bandwidths of t-SNE. Or its draws lie farther than they need to, on
average more than twice as far as the nearest code, in squared distance. The first keeps codes of a crowd apart, in many
dimensions above all, where all distances are alike; the second keeps crowds apart that lie far from each other. Both are
bounded for each vector and free of its scale, so that a few far vectors decide nothing. R rows, K codes.
"""

import math

import torch
from torch import Tensor

_WANTED_PERPLEXITY = 2.0
_ROUNDS = 40


def wanted(codes: int) -> float:
    """Mean of `mixing` that an automatic τ aims at: log 2, and less where there are but one or two codes."""
    return math.log(min(_WANTED_PERPLEXITY, (1 + codes) / 2))


def mixing(probability_RK: Tensor, logit_RK: Tensor, nearest_R: Tensor, temperature: Tensor) -> Tensor:
    """How far each vector's weights are from its nearest code alone, [R], from 0; log 2 is as it should be.

    The larger of two: the entropy of the weights in nats, at most log K; and 2 log 2 times the share of the draws' mean
    distance that goes beyond the nearest, at most 2 log 2. Needs no other R x K.

    Args:
        probability_RK: softmax of the logits.
        logit_RK: (nearest - distance) / τ, so that the largest of each row is 0.
        nearest_R: squared distance to the nearest code.
        temperature: τ.
    """
    cross_R = torch.linalg.vecdot(probability_RK, logit_RK)
    entropy_R = -probability_RK.amax(1).log() - cross_R
    beyond_R = -temperature * cross_R
    share_R = beyond_R / (beyond_R + nearest_R).clamp_min(torch.finfo(torch.float32).tiny)
    mixing_R: Tensor = torch.maximum(entropy_R, 2 * math.log(2) * share_R)
    return mixing_R


def corrected(temperature: Tensor, found: Tensor, codes: int, rate: float) -> Tensor:
    """τ after a step towards the wanted mixing: log τ moves by `rate` times what is missing.

    Both parts grow with τ, so that the step always goes the right way; its size is bounded because they are.
    """
    return temperature * torch.exp(rate * (wanted(codes) - found))


def solve(distance_RK: Tensor, counts_R: Tensor, scale: Tensor) -> Tensor:
    """The τ at which the rows that count are mixed as wanted on average, by bisection around `scale`, a scalar."""
    nearest_R = distance_RK.amin(1)
    rows = counts_R.sum().clamp_min(1)
    low, high = 1e-8 * scale, 1e4 * scale
    for _ in range(_ROUNDS):
        middle = (low * high).sqrt()
        logit_RK = (nearest_R[:, None] - distance_RK) / middle
        found = (mixing(logit_RK.softmax(1), logit_RK, nearest_R, middle) * counts_R).sum() / rows
        too_high = found > wanted(distance_RK.shape[1])
        low, high = torch.where(too_high, low, middle), torch.where(too_high, middle, high)
    return (low * high).sqrt()


def left_out(distance_RK: Tensor, counts_R: Tensor) -> Tensor:
    """Distances to codes that are means of these very rows, each row's to its nearest as if that were the mean of the others.

    Otherwise rows that share a code with few others would seem to lie on it, and τ would start far too low: a mean of s rows is
    s / (s - 1) times as far from a row that is left out of it. A row alone with its code has none; the farthest stands for it.
    """
    nearest_R, index_R = distance_RK.min(1)
    size_K = distance_RK.new_zeros(distance_RK.shape[1]).index_add_(0, index_R, counts_R.to(distance_RK.dtype))
    size_R = size_K[index_R]
    others_R = nearest_R * (size_R / (size_R - 1).clamp_min(1)).square()
    others_R = torch.where(size_R > 1, others_R, distance_RK.amax(1))
    return distance_RK.scatter(1, index_R[:, None], others_R[:, None])
