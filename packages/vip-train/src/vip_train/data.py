"""From examples to padded batches. B batch, S source tokens, T target tokens, A answers."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, DistributedSampler
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
    """Endless shuffled batches of one rank's share; every epoch has another order, the same for the same seed.

    Args:
        examples: at least one per rank.
        batch_size: examples of this rank per batch.
        rank: of this process.
        world_size: number of processes.
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
        # A sequence is all a map-style data set has to be, though torch's types ask for a Dataset.
        data = cast(Dataset[Example], examples)
        self._sampler: DistributedSampler[Example] = DistributedSampler(
            data, num_replicas=world_size, rank=rank, shuffle=True, seed=seed
        )
        self._loader: DataLoader[Example] = DataLoader(data, batch_size=batch_size, sampler=self._sampler, collate_fn=collate)
        self._epoch = 0
        self._batches: Iterator[Batch] = iter(self._loader)

    def __next__(self) -> Batch:
        try:
            return next(self._batches)
        except StopIteration:
            self._epoch += 1
            self._sampler.set_epoch(self._epoch)
            self._batches = iter(self._loader)
            return next(self._batches)
