"""A split of a task, tokenised once and held in files. B batch, S source tokens, T target tokens, N examples."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from vip_core.losses import IGNORED

from vip_train.data import Batch, cut, padded
from vip_train.scratch import Scratch
from vip_train.tasks.task import Example

_AT_ONCE = 1000
"""Texts handed to the tokenizer together. It uses all cores for them; their ids are Python lists until they are packed."""
_CHARACTERS_AT_ONCE = 2**22
"""Characters of sources and targets after which no further text joins them."""


class _Ids:
    """Token ids of texts, one text after the other."""

    def __init__(self) -> None:
        self._scratch = Scratch()
        self._lengths: list[Tensor] = []

    def add(self, rows: list[list[int]]) -> None:
        """Adds texts."""
        self._lengths.append(torch.tensor([len(row) for row in rows]))
        self._scratch.append(np.fromiter(chain.from_iterable(rows), np.int32).tobytes())

    def close(self) -> None:
        """Ends the adding."""
        self.length_N = torch.cat(self._lengths)
        self._end_N = self.length_N.cumsum(0)
        self._all = self._scratch.mapped()

    def __getitem__(self, row: int) -> Tensor:
        end = int(self._end_N[row])
        return self._all[end - int(self.length_N[row]) : end]


class TokenisedSplit:
    """The examples of a split and their token ids.

    The ids, 4 bytes each, are in files without a name that are mapped into memory; the system keeps what it has room for. Only
    lengths are held, 40 bytes of an example.

    Args:
        examples: at least one.
        tokenizer: of the backbone.
        max_source_length: source tokens kept, `</s>` among them.

    Raises:
        UserError: there is no room for the ids in the folder for temporary files.
    """

    def __init__(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_source_length: int) -> None:
        self.examples = examples
        self._sources, self._targets = _Ids(), _Ids()
        whole: list[Tensor] = []
        for part in _parts(examples):
            rows = _ids([example.source for example in part], tokenizer)
            whole.append(torch.tensor([len(row) for row in rows]))
            self._sources.add([cut(row, max_source_length, tokenizer) for row in rows])
            self._targets.add(_ids([example.target for example in part], tokenizer))
        self._sources.close()
        self._targets.close()
        self.whole_length_N = torch.cat(whole)
        """Source tokens of each example before it was cut."""
        self.source_length_N = self._sources.length_N
        """Source tokens of each example."""
        self.target_length_N = self._targets.length_N
        """Target tokens of each example."""
        self.truncated = int((self.whole_length_N > max_source_length).sum())
        """How many sources were longer than allowed."""
        self._pad = tokenizer.pad_token_id

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Some examples as one batch, padded to the longest of them."""
        ids, mask = padded([self._sources[row] for row in rows], self._pad)
        labels, _ = padded([self._targets[row] for row in rows], IGNORED)
        return Batch(ids, mask, labels)


def _parts(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """All examples, as many at a time as are tokenised together."""
    part: list[Example] = []
    size = 0
    for example in examples:
        part.append(example)
        size += len(example.source) + len(example.target)
        if len(part) == _AT_ONCE or size > _CHARACTERS_AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part


def _ids(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    rows: list[list[int]] = tokenizer(texts, add_special_tokens=True, return_attention_mask=False)["input_ids"]
    return rows
