"""What the codes of a split tell: how many are in use, and how much they say about input, label and group.

B batch, P prompt tokens, K codes, N examples of the split, G groups, X columns of the membership table.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from vip_core import entropy, mutual_information, perplexity, usage, used_share

from vip_train.tasks import Example
from vip_train.world import World

_SHUFFLES = 10


class Selection(NamedTuple):
    """Use of the codebook over a split. All zero without a codebook and before it is in use.

    Bits are mutual information between a prompt token's code and a fact about the input, averaged over prompt tokens;
    `shuffled` is the same with the facts of the split's examples exchanged at random, mean of ten times.
    """

    code_perplexity: float
    """exp(entropy) of the codes' shares, 1 to K."""
    codes_used: float
    """Share of the codes that took at least 1e-4 of all weight."""
    token_perplexity: float
    """exp(mean entropy) of one token's weights for one input: how many codes it takes at once. Near K, codes have merged."""
    input_bits: float
    """About the input itself. An input that selects the same codes as all others gives 0."""
    label_bits: float
    """About the right answer."""
    label_bits_shuffled: float
    group_bits: float
    """About the example's group, such as its domain."""
    group_bits_shuffled: float
    input_bits_P: tuple[float, ...]
    """`input_bits` of each prompt token; the next two likewise."""
    label_bits_P: tuple[float, ...]
    group_bits_P: tuple[float, ...]
    code_share_K: tuple[float, ...]
    """Each code's share of all weight."""


_NOTHING = Selection(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (), (), (), ())


class SelectionTally:
    """Adds up over batches and processes what a `Selection` is computed from.

    Args:
        examples: the whole split, the same on every process.
        prompt_length: P.
        codes: K; 0 for a method without a codebook.
        device: of the weights.
    """

    def __init__(self, examples: Sequence[Example], prompt_length: int, codes: int, device: torch.device) -> None:
        self._facts = [_one_hot([example.target for example in examples]), _one_hot([example.group for example in examples])]
        generator = torch.Generator().manual_seed(0)
        orders = [torch.arange(len(examples))]
        orders += [torch.randperm(len(examples), generator=generator) for _ in range(_SHUFFLES)]
        columns = [fact_NG[order_N] for order_N in orders for fact_NG in self._facts]
        self._member_NX = torch.cat(columns, dim=1).to(device)
        self._joint_XPK = torch.zeros(self._member_NX.shape[1], prompt_length, codes, device=device)
        self._entropy_P = torch.zeros(prompt_length, dtype=torch.float64, device=device)

    def add(self, weight_BPK: Tensor, row_B: Tensor) -> None:
        """Takes a batch.

        Args:
            weight_BPK: what its prompt tokens selected.
            row_B: where its examples stand in the split.
        """
        member_BX = self._member_NX[row_B]
        self._joint_XPK += (member_BX.T @ weight_BPK.float().flatten(1)).view_as(self._joint_XPK)
        self._entropy_P += entropy(weight_BPK).sum(0)

    def result(self, world: World) -> Selection:
        """The statistics over all processes; every process has to ask."""
        world.sum_(self._joint_XPK)
        world.sum_(self._entropy_P)
        sizes = [fact_NG.shape[1] for fact_NG in self._facts]
        label_GPK, *others = self._joint_XPK.split(sizes * (1 + _SHUFFLES))
        total_PK = label_GPK.sum(0)
        share_K = usage(total_PK[None])
        if not float(share_K.sum()):
            return _NOTHING
        own_P = self._entropy_P / len(self._member_NX)
        label_P, group_P = mutual_information(label_GPK), mutual_information(others[0])
        shuffled = [float(mutual_information(joint_GPK).mean()) for joint_GPK in others[1:]]
        input_P = (entropy(total_PK) - own_P).clamp_min(0)
        return Selection(
            code_perplexity=float(perplexity(share_K)),
            codes_used=float(used_share(share_K)),
            token_perplexity=2 ** float(own_P.mean()),
            input_bits=float(input_P.mean()),
            label_bits=float(label_P.mean()),
            label_bits_shuffled=sum(shuffled[0::2]) / _SHUFFLES,
            group_bits=float(group_P.mean()),
            group_bits_shuffled=sum(shuffled[1::2]) / _SHUFFLES,
            input_bits_P=tuple(input_P.tolist()),
            label_bits_P=tuple(label_P.tolist()),
            group_bits_P=tuple(group_P.tolist()),
            code_share_K=tuple(round(share, 6) for share in share_K.tolist()),
        )


def _one_hot(fact_N: Sequence[str]) -> Tensor:
    """Which of the different facts each example has, [N, G]."""
    different = {fact: place for place, fact in enumerate(sorted(set(fact_N)))}
    return torch.eye(len(different))[[different[fact] for fact in fact_N]]
