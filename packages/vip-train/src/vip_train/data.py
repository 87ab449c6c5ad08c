"""From texts to padded batches. B batch, S source tokens, T target tokens, A answers."""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase
from vip_core.losses import IGNORED

from vip_train.errors import UserError
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
    kept = [torch.tensor(cut(row, limit, tokenizer)) for row, limit in zip(rows, limits, strict=True)]
    ids, mask = padded(kept, tokenizer.pad_token_id)
    return Sources(ids, mask, sum(len(row) > limit for row, limit in zip(rows, limits, strict=True)))


def cut(row: list[int], limit: int, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of one text, at most `limit` of them and the last one `</s>`."""
    return row if len(row) <= limit else [*row[: limit - 1], tokenizer.eos_token_id]


def padded(rows: Sequence[Tensor], value: int) -> tuple[Tensor, Tensor]:
    """Rows of token ids, padded on the right to the longest, and where there is a token: two of [B, S]."""
    ids = pad_sequence(list(rows), batch_first=True, padding_value=value).long()
    length = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(ids.shape[1]) < length[:, None]).long()


def encode_answers(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Target token ids, each closed by `</s>`, -100 where padded: [A, T]."""
    rows = tokenizer(list(texts), add_special_tokens=True)["input_ids"]
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=IGNORED)


def check_distinct(answers: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> None:
    """Makes sure that fixed answers can be told apart once they are tokens.

    Raises:
        UserError: two of them are the same tokens, as are words in letters that the vocabulary lacks.
    """
    seen: dict[tuple[int, ...], str] = {}
    for answer, row in zip(answers, tokenizer(list(answers))["input_ids"] if answers else [], strict=True):
        other = seen.setdefault(tuple(row), answer)
        if other != answer:
            raise UserError(f"labels: {other!r} and {answer!r} are the same to the backbone's vocabulary; use other words")


def digest(*splits: Sequence[Example]) -> str:
    """SHA-256 over the examples, by which a run that continues knows its data."""
    found = hashlib.sha256()
    for examples in splits:
        # What json.dumps makes of a list, one example at a time: there may be more of them than memory holds.
        for number, example in enumerate(examples):
            found.update(f"{', ' if number else '['}{json.dumps(example)}".encode())
        found.update(b"]" if len(examples) else b"[]")
    return f"sha256:{found.hexdigest()}"
