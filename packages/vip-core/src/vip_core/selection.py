"""Which codes a vector takes, and the two sums over what was taken (paper, section 3.2).

N prompt vectors, D backbone width, K codes, M draws per vector. M draws name M of K codes, so sums over draws read M rows where
a product with weight_NK, which is all zeros but for those, would read K.
"""

from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from vip_core.config import Evaluation


class Selection(NamedTuple):
    """How much of each code each vector takes."""

    weight_NK: Tensor
    """Rows sum to one."""
    drawn_NM: Tensor | None
    """The codes that were drawn, of which each vector takes equal parts; None where it takes some of every code."""
    probability_NK: Tensor | None
    """softmax(logit), where that was asked for."""


def choose(logit_NK: Tensor, how: Evaluation, draws: int, generator: torch.Generator | None = None) -> Selection:
    """Selects codes; the arguments are those of `select`."""
    if how not in get_args(Evaluation):
        raise ValueError(f"how={how!r} must be one of {', '.join(map(repr, get_args(Evaluation)))}")
    if how == "argmax":
        nearest_N1 = logit_NK.argmax(1, keepdim=True)
        return Selection(_counted(nearest_N1, logit_NK), nearest_N1, None)
    probability_NK = logit_NK.softmax(1)
    if how == "expected":
        return Selection(probability_NK, None, probability_NK)
    drawn_NM = _draw(probability_NK, draws, generator)
    return Selection(_counted(drawn_NM, probability_NK), drawn_NM, probability_NK)


def select(logit_NK: Tensor, how: Evaluation, draws: int, generator: torch.Generator | None = None) -> Tensor:
    """weight_NK for logits: how much of each code each vector takes.

    Args:
        logit_NK: unnormalised log-probabilities.
        how: `sample` draws `draws` codes with replacement and counts them, weight = count / M; `expected` is the mean of that,
            softmax; `argmax` is one for the likeliest code (the first of equals).
        draws: M, for `sample`.
        generator: source of the draws; torch's own when None.
    """
    return choose(logit_NK, how, draws, generator).weight_NK


def _draw(probability_NK: Tensor, draws: int, generator: torch.Generator | None) -> Tensor:
    """M codes per vector, with replacement."""
    if len(probability_NK) == 0:
        return torch.empty(0, draws, dtype=torch.int64, device=probability_NK.device)
    # torch refuses to draw from NaN with an error of its own; a diverged loss is for the training loop to report.
    safe_NK = probability_NK.nan_to_num_(1 / probability_NK.shape[1])
    return torch.multinomial(safe_NK, draws, replacement=True, generator=generator)


def _counted(drawn_NM: Tensor, like_NK: Tensor) -> Tensor:
    """Each code's share of the draws, [N, K]."""
    share_NM = torch.full_like(drawn_NM, 1 / drawn_NM.shape[1], dtype=like_NK.dtype)
    return torch.zeros_like(like_NK).scatter_add_(1, drawn_NM, share_NM)


def sum_codes(weight_NK: Tensor, drawn_NM: Tensor | None, code_KD: Tensor) -> Tensor:
    """Σ_k weight_nk e_k, [N, D]: of drawn codes their mean."""
    if drawn_NM is None:
        return weight_NK @ code_KD
    return nn.functional.embedding_bag(drawn_NM, code_KD, mode="sum") / drawn_NM.shape[1]


def sum_vectors(weight_NK: Tensor, drawn_NM: Tensor | None, vector_ND: Tensor) -> Tensor:
    """Σ_n weight_nk p^c_n, [K, D]: of draws the vectors that drew each code, over M."""
    if drawn_NM is None:
        return weight_NK.T @ vector_ND
    draws, codes = drawn_NM.shape[1], weight_NK.shape[1]
    # Draws in the order of their codes: code k's lie together, from the first that is not below k.
    code_R, order_R = drawn_NM.flatten().sort(stable=True)
    first_K = torch.searchsorted(code_R, torch.arange(codes, device=code_R.device))
    return nn.functional.embedding_bag(order_R // draws, vector_ND, first_K, mode="sum") / draws
