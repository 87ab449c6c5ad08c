"""How a codebook is used, what its codes tell, and what a prompt looks at.

B batch, P prompt tokens, K codes, G groups of inputs, L positions a contextualizer reads.
"""

import math

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


def entropy(weight_K: Tensor) -> Tensor:
    """Entropy in bits over the last axis, [..., K] -> [...], of weights that need not sum to one; 0 where all are zero."""
    weight_K = weight_K.double()
    share_K = weight_K / weight_K.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    bits: Tensor = torch.special.entr(share_K).sum(-1) / math.log(2)
    return bits


def mutual_information(joint_GPK: Tensor) -> Tensor:
    """I(code; group) of each prompt token, in bits, [P] fp64: H(code) + H(group) - H(code, group).

    0 says that a token's codes tell nothing of the group an input belongs to; the entropy of the groups is the most there
    can be. Groups may be labels, domains, or single inputs: `mutual_information(weight_BPK)` is what codes tell of the input.
    It never falls below zero, so on few inputs it is positive by chance: compare with the same inputs in shuffled groups.

    Args:
        joint_GPK: selection weight of each group, summed over its inputs (and over batches).
    """
    code_P = entropy(joint_GPK.sum(0))
    group_P = entropy(joint_GPK.sum(2).T)
    both_P = entropy(joint_GPK.transpose(0, 1).flatten(1))
    return (code_P + group_P - both_P).clamp_min(0)


def rollout(attention_NBLL: Tensor) -> Tensor:
    """How much of each position ends in each other one over N layers, [B, L, L]; rows sum to one (Abnar and Zuidema, 2020).

    Half of what a layer hands on is taken to come from attention and half from the position itself. It says what is read, not
    what the reading is worth.

    Args:
        attention_NBLL: from `Contextualizer.attention`.
    """
    length = attention_NBLL.shape[-1]
    found_BLL = torch.eye(length, device=attention_NBLL.device).expand(attention_NBLL.shape[1:])
    for weight_BLL in attention_NBLL.float():
        found_BLL = 0.5 * (weight_BLL @ found_BLL + found_BLL)
    return found_BLL
