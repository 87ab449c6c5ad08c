"""A split of a task, tokenised once and held as compact arrays. B batch, S source tokens, T target tokens, N examples."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from vip_core.losses import IGNORED

from vip_train.data import Batch, cut, padded
from vip_train.tasks.task import Example

_AT_ONCE = 1000
"""Texts handed to the tokenizer together. It uses all cores for them; their ids are Python lists until they are packed."""


class TokenisedSplit:
    """The examples of a split and their token ids, 4 bytes each, one after the other.

    Args:
        examples: at least one.
        tokenizer: of the backbone.
        max_source_length: source tokens kept, `</s>` among them.
    """

    def __init__(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_source_length: int) -> None:
        self.examples = examples
        self.truncated = 0
        """How many sources were longer than allowed."""
        sources: list[Tensor] = []
        targets: list[Tensor] = []
        for first in range(0, len(examples), _AT_ONCE):
            part = examples[first : first + _AT_ONCE]
            rows = _ids([example.source for example in part], tokenizer)
            self.truncated += sum(len(row) > max_source_length for row in rows)
            sources += _packed(cut(row, max_source_length, tokenizer) for row in rows)
            targets += _packed(_ids([example.target for example in part], tokenizer))
        self.source_length_N = torch.tensor([len(row) for row in sources])
        """Source tokens of each example."""
        self.target_length_N = torch.tensor([len(row) for row in targets])
        """Target tokens of each example."""
        self._sources, self._targets = _together(sources), _together(targets)
        self._pad = tokenizer.pad_token_id

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Some examples as one batch, padded to the longest of them."""
        ids, mask = padded([self._sources[row] for row in rows], self._pad)
        labels, _ = padded([self._targets[row] for row in rows], IGNORED)
        return Batch(ids, mask, labels)


def _ids(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    rows: list[list[int]] = tokenizer(texts, add_special_tokens=True, return_attention_mask=False)["input_ids"]
    return rows


def _packed(rows: Iterable[list[int]]) -> list[Tensor]:
    return [torch.tensor(row, dtype=torch.int32) for row in rows]


def _together(rows: list[Tensor]) -> tuple[Tensor, ...]:
    """Views of one array in place of many arrays."""
    views: tuple[Tensor, ...] = torch.cat(rows).split([len(row) for row in rows])
    return views
