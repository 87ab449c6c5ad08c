"""From examples to padded batches. B batch, S source tokens, T target tokens, A answers."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase
from vip_core.losses import IGNORED

from vip_train.tasks.task import Example


class Sources(NamedTuple):
    """Padded source texts."""

    input_ids: Tensor
    """[B, S]"""
    attention_mask: Tensor
    """[B, S], 1 where there is a token."""
    truncated: int
    """How many texts were longer than allowed."""


class Batch(NamedTuple):
    """What one training step reads."""

    input_ids: Tensor
    """[B, S]"""
    attention_mask: Tensor
    """[B, S], 1 where there is a token."""
    labels: Tensor
    """[B, T], -100 where padded."""

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))

    def parts(self, size: int) -> list["Batch"]:
        """Its rows in order, `size` at a time; the last part may have fewer. Each is padded to the longest of its own."""
        # Read from the device once, not for each part.
        sources, targets = torch.stack([_ends(self.attention_mask > 0), _ends(self.labels != IGNORED)]).tolist()
        found = []
        for start in range(0, len(sources), size):
            rows = slice(start, start + size)
            source, target = max(sources[rows]), max(targets[rows])
            found.append(Batch(self.input_ids[rows, :source], self.attention_mask[rows, :source], self.labels[rows, :target]))
        return found


def _ends(some_BS: Tensor) -> Tensor:
    """How many columns of each row are needed to keep all that is true, [B]; at least one."""
    return (some_BS * torch.arange(1, some_BS.shape[1] + 1, device=some_BS.device)).amax(1).clamp_min(1)


def encode_sources(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int | Sequence[int]) -> Sources:
    """Tokenises source texts, closes each with `</s>` and pads them on the right to the longest.

    A text longer than `max_length`, which may be one for each, loses its end but not its `</s>`.
    """
    rows = tokenizer(list(texts), add_special_tokens=True)["input_ids"]
    limits = [max_length] * len(rows) if isinstance(max_length, int) else max_length
    kept = [
        row if len(row) <= limit else [*row[: limit - 1], tokenizer.eos_token_id]
        for row, limit in zip(rows, limits, strict=True)
    ]
    ids = pad_sequence([torch.tensor(row) for row in kept], batch_first=True, padding_value=tokenizer.pad_token_id)
    length = torch.tensor([len(row) for row in kept])
    mask = (torch.arange(ids.shape[1]) < length[:, None]).long()
    return Sources(ids, mask, sum(len(row) > limit for row, limit in zip(rows, limits, strict=True)))


def encode_answers(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Target token ids, each closed by `</s>`, -100 where padded: [A, T]."""
    rows = tokenizer(list(texts), add_special_tokens=True)["input_ids"]
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=IGNORED)


def collator(tokenizer: PreTrainedTokenizerBase, max_source_length: int) -> Callable[[Sequence[Example]], Batch]:
    """A function from examples to a batch, for `DataLoader`."""

    def collate(examples: Sequence[Example]) -> Batch:
        sources = encode_sources([example.source for example in examples], tokenizer, max_source_length)
        return Batch(
            sources.input_ids, sources.attention_mask, encode_answers([example.target for example in examples], tokenizer)
        )

    return collate


class Shuffled:
    """Endless shuffled batches. Which examples a step reads depends on seed and step alone, not on the number of processes.

    Epochs follow each other without a gap, each in an order of its own, so every batch is full and every process gets
    equally many examples. There is no state: a run that continues asks for the step it has come to.

    Args:
        examples: at least one.
        batch_size: examples of a batch over all processes together.
        rank: of this process.
        world_size: number of processes; divides the batch size.
        seed: of the order.
        collate: from `collator`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int,
        rank: int,
        world_size: int,
        seed: int,
        collate: Callable[[Sequence[Example]], Batch],
    ) -> None:
        if batch_size % world_size:
            raise ValueError(f"batch_size={batch_size} must be divisible by world_size={world_size}")
        self._examples = examples
        self._batch_size = batch_size
        self._rank, self._world_size = rank, world_size
        self._seed = seed
        self._collate = collate
        self._epoch = -1

    def rows(self, step: int) -> list[int]:
        """Which examples all processes together read in a step; steps count from 1."""
        first = (step - 1) * self._batch_size
        places = (divmod(place, len(self._examples)) for place in range(first, first + self._batch_size))
        return [self._order(epoch)[place] for epoch, place in places]

    def share(self, step: int) -> list[int]:
        """Which of them this process reads."""
        return self.rows(step)[self._rank :: self._world_size]

    def batch(self, step: int) -> Batch:
        """This process's share of a step's batch."""
        return self._collate([self._examples[row] for row in self.share(step)])

    def _order(self, epoch: int) -> list[int]:
        if self._epoch != epoch:
            generator = torch.Generator().manual_seed(self._seed + epoch)
            self._epoch = epoch
            self._epoch_order: list[int] = torch.randperm(len(self._examples), generator=generator).tolist()
        return self._epoch_order


def digest(*splits: Sequence[Example]) -> str:
    """SHA-256 over the examples, by which a run that continues knows its data."""
    found = hashlib.sha256()
    for examples in splits:
        found.update(json.dumps(examples).encode())
    return f"sha256:{found.hexdigest()}"
