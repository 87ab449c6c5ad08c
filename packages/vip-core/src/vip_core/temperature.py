"""An automatic τ: the one at which a vector takes about two codes.

Each vector's weights have a perplexity, the number of codes they amount to; τ is what gives the mean vector the wanted one, as
van der Maaten and Hinton (2008) choose the bandwidths of t-SNE. R rows, K codes.
"""

import math

import torch
from torch import Tensor

_WANTED_PERPLEXITY = 2.0
_ROUNDS = 40


def wanted_entropy(codes: int) -> float:
    """Mean entropy of a vector's weights that an automatic τ aims at, in nats: log 2, and less where there are two codes."""
    return math.log(min(_WANTED_PERPLEXITY, (1 + codes) / 2))


def softmax_entropy(logit_RK: Tensor, probability_RK: Tensor) -> Tensor:
    """Entropy of each row in nats, [R], from logits whose largest is 0 and their softmax, without another R x K."""
    cross_R: Tensor = torch.linalg.vecdot(probability_RK, logit_RK)
    return -probability_RK.amax(1).log() - cross_R


def corrected(temperature: Tensor, entropy: Tensor, codes: int, rate: float) -> Tensor:
    """τ after a step towards the wanted entropy: log τ moves by `rate` times what is missing.

    Entropy grows with τ, from 0 to log K, so that the step always goes the right way; its size is bounded because both are.
    """
    return temperature * torch.exp(rate * (wanted_entropy(codes) - entropy))


def solve(distance_RK: Tensor, counts_R: Tensor, start: Tensor) -> Tensor:
    """The τ at which the rows that count have the wanted mean entropy, by steps of `corrected` from `start`, a scalar."""
    logit_RK = distance_RK.amin(1, keepdim=True) - distance_RK
    rows = counts_R.sum().clamp_min(1)
    temperature = start
    for _ in range(_ROUNDS):
        scaled_RK = logit_RK / temperature
        entropy_R = softmax_entropy(scaled_RK, scaled_RK.softmax(1))
        temperature = corrected(temperature, (entropy_R * counts_R).sum() / rows, distance_RK.shape[1], 1.0)
    return temperature
