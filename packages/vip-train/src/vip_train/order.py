"""Which examples a training step reads: shuffled, the longest first, dealt evenly. B batch, N examples."""

import hashlib

import torch
from torch import Tensor

from vip_train.data import Batch
from vip_train.mixing import Mixing
from vip_train.tokenised import TokenisedSplit


class Shuffled:
    """Endless shuffled batches. Which examples a step reads depends on seed and step alone, not on the number of processes.

    Epochs follow each other without a gap, each in an order of its own, so every batch is full and every process gets
    equally many examples. There is no state: a run that continues asks for the step it has come to.

    With windows little is padded: an epoch's order is cut into windows of some batches. The examples of a window are sorted by
    length, cut into batches, and the batches of the whole epoch exchanged. Examples that share a batch with the epoch before
    or after stay unsorted, one batch an epoch.

    Args:
        split: at least one example.
        batch_size: examples of a batch over all processes together.
        rank: of this process.
        world_size: number of processes; divides the batch size.
        seed: of the order.
        window: batches whose examples are sorted together; 1 leaves the order to chance alone.
        mixing: which examples an epoch has; by default each once.
    """

    def __init__(
        self,
        split: TokenisedSplit,
        *,
        batch_size: int,
        rank: int,
        world_size: int,
        seed: int,
        window: int,
        mixing: Mixing | None = None,
    ) -> None:
        if batch_size % world_size:
            raise ValueError(f"batch_size={batch_size} must be divisible by world_size={world_size}")
        self._split = split
        self._batch_size = batch_size
        self._rank, self._world_size = rank, world_size
        self._seed = seed
        self._window = window
        self._mixing = mixing
        self._size = len(split) if mixing is None else len(mixing)
        self._newest: tuple[int, list[int]] = (-1, [])  # replaced as one, because a loader asks from a thread of its own

    def rows(self, step: int) -> list[int]:
        """Which examples all processes together read in a step, the longest first; steps count from 1."""
        found: list[int] = []
        while len(found) < self._batch_size:
            epoch, place = divmod((step - 1) * self._batch_size + len(found), self._size)
            found += self._order(epoch)[place : place + self._batch_size - len(found)]
        order = self._split.source_length_N[found].argsort(descending=True, stable=True)
        return [found[place] for place in order.tolist()]

    def share(self, step: int) -> list[int]:
        """Which of them this process reads, the longest first.

        Every process gets one of each few neighbours in length, so that all have equally much to do, also where they work
        off their shares in several equal parts.
        """
        return self.rows(step)[self._rank :: self._world_size]

    def batch(self, step: int) -> Batch:
        """This process's share of a step's batch."""
        return self._split.batch(self.share(step))

    def _order(self, epoch: int) -> list[int]:
        known, order = self._newest
        if known != epoch:
            order = self._drawn(epoch).tolist()
            self._newest = epoch, order
        return order

    def _drawn(self, epoch: int) -> Tensor:
        size, batch_size = self._size, self._batch_size
        # Not the sum of the two: seed 1 would read what seed 0 does, an epoch later.
        mixed = hashlib.sha256(f"{self._seed} {epoch}".encode()).digest()[:8]
        generator = torch.Generator().manual_seed(int.from_bytes(mixed, "little") >> 1)
        order_N = torch.randperm(size, generator=generator)
        if self._mixing is not None:
            order_N = self._mixing.rows(epoch)[order_N]
        first = -epoch * size % batch_size  # these complete the last batch of the epoch before
        count = max(size - first, 0) // batch_size
        if self._window == 1 or count < 2:
            return order_N
        inner = order_N[first : first + count * batch_size]
        windows = inner.view(count, batch_size).tensor_split(-(-count // self._window))
        batches = torch.cat([self._sorted(window.flatten()) for window in windows]).view(count, batch_size)
        inner.copy_(batches[torch.randperm(count, generator=generator)].flatten())
        return order_N

    def _sorted(self, rows: Tensor) -> Tensor:
        return rows[self._split.source_length_N[rows].argsort(stable=True)]
