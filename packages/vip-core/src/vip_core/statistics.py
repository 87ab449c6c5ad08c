"""How a codebook is used. B batch, P prompt tokens, K codes."""

import torch
from torch import Tensor


def usage(weight_BPK: Tensor) -> Tensor:
    """Share of all selection weight each code took, [K], summing to one (all zero where nothing was selected).

    Add up weights over many batches before asking for perplexity: a single batch of B·P·M draws cannot show more codes.
    """
    total_K = weight_BPK.float().sum((0, 1))
    share_K: Tensor = total_K / total_K.sum().clamp_min(torch.finfo(torch.float32).tiny)
    return share_K


def perplexity(usage_K: Tensor) -> Tensor:
    """exp(entropy) of code shares, a scalar from 1 (one code) to K (all alike); 1 as well where nothing was selected."""
    entropy: Tensor = torch.special.entr(usage_K).sum()
    return entropy.exp()


def used_share(usage_K: Tensor, *, least: float = 1e-4) -> Tensor:
    """Share of the K codes that took at least `least` of all weight, a scalar in [0, 1]."""
    return (usage_K >= least).float().mean()
