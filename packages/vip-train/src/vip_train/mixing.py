"""Which examples an epoch of a mixture has: of each part its share, however large the part is. N rows of an epoch."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vip_train.errors import UserError
from vip_train.tasks import Example

_MOST_ROWS = 10**8
"""Of an epoch, each 8 bytes a few times over."""


class _Share(NamedTuple):
    rows: Tensor
    """Where the part's examples stand in the split."""
    often: int
    """How many an epoch has of them."""


class Mixing:
    """The rows of any epoch, a function of seed and epoch alone.

    The part that is least repeated is seen once an epoch, the others as often as their weights want. Each part goes through all
    its examples, in an order of its own, before one comes again, across epochs too.

    Args:
        examples: of the training split, from one part or several.
        weights: of the parts by `Example.task`; each above 0 for which there are examples.
        seed: of the order.

    Raises:
        UserError: the weights would repeat a part so often that an epoch is too large to be drawn up.
    """

    def __init__(self, examples: Sequence[Example], weights: Mapping[str, float], seed: int) -> None:
        self._seed = seed
        members: dict[str, list[int]] = {}
        for row, example in enumerate(examples):
            members.setdefault(example.task, []).append(row)
        longest = max(len(rows) / weights[name] for name, rows in members.items())
        if not longest * sum(weights[name] for name in members) < _MOST_ROWS:
            raise UserError(
                f"task: its weights are too far apart, {len(examples)} examples would make {_MOST_ROWS:,} rows or more an epoch"
            )
        self._shares = [_Share(torch.tensor(rows), max(1, round(longest * weights[name]))) for name, rows in members.items()]

    def __len__(self) -> int:
        """Rows of an epoch; all have equally many."""
        return sum(share.often for share in self._shares)

    def rows(self, epoch: int) -> Tensor:
        """Where its examples stand in the split, part by part: [N]."""
        return torch.cat([self._drawn(number, share, epoch) for number, share in enumerate(self._shares)])

    def _drawn(self, number: int, share: _Share, epoch: int) -> Tensor:
        size = len(share.rows)
        first, last = epoch * share.often, (epoch + 1) * share.often - 1
        rounds = [self._round(number, size, count) for count in range(first // size, last // size + 1)]
        return share.rows[torch.cat(rounds)[first % size :][: share.often]]

    def _round(self, number: int, size: int, count: int) -> Tensor:
        """One pass through a part. A generator keeps 32 bits of its seed, so they have to come from all three numbers."""
        seed = hashlib.sha256(f"{self._seed} {number} {count}".encode()).digest()[:4]
        generator = torch.Generator().manual_seed(int.from_bytes(seed, "little"))
        return torch.randperm(size, generator=generator)
