"""Reads a text corpus, one paragraph a line, into one long row of token ids and draws windows from it."""

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from vip_train.errors import UserError

_OPENERS: dict[str, Callable[..., IO[str]]] = {".xz": lzma.open, ".gz": gzip.open}


def read_paragraphs(path: Path) -> Iterator[str]:
    """Yields the non-empty lines of a UTF-8 text file, plain, .gz or .xz.

    Raises:
        UserError: the file is missing, truncated or not UTF-8; the message names it and the line reached.
    """
    read = 0
    try:
        with _OPENERS.get(path.suffix, open)(path, mode="rt", encoding="utf-8") as lines:
            for line in lines:
                read += 1
                if text := line.strip():
                    yield text
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{path}: cannot read the corpus after line {read}: {error}") from error


class Corpus(NamedTuple):
    """Token ids of all paragraphs, each closed by `</s>`, as one row; the held-out tail is never trained on."""

    training: npt.NDArray[np.uint16]
    held_out: npt.NDArray[np.uint16]


def encode_corpus(paragraphs: list[str], tokenizer: PreTrainedTokenizerBase, *, held_out: float = 0.005) -> Corpus:
    """Tokenises the paragraphs and splits off the last `held_out` share of them.

    Raises:
        ValueError: the vocabulary does not fit 16-bit ids.
    """
    if len(tokenizer) > np.iinfo(np.uint16).max:
        raise ValueError(f"a vocabulary of {len(tokenizer)} ids does not fit 16 bits")
    cut = len(paragraphs) - max(1, round(len(paragraphs) * held_out))

    def flat(part: list[str]) -> npt.NDArray[np.uint16]:
        rows: list[npt.NDArray[np.uint16]] = []
        for at in range(0, len(part), 4096):
            rows.extend(np.asarray(ids, np.uint16) for ids in tokenizer(part[at : at + 4096])["input_ids"])
        return np.concatenate(rows)

    return Corpus(flat(paragraphs[:cut]), flat(paragraphs[cut:]))


def draw_windows(tokens: npt.NDArray[np.uint16], *, batch: int, length: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draws `batch` windows of `length` tokens from random places: [B, L] int64.

    Raises:
        ValueError: the corpus is shorter than one window.
    """
    if len(tokens) < length:
        raise ValueError(f"the corpus holds {len(tokens)} tokens, fewer than one window of {length}")
    starts = rng.integers(0, len(tokens) - length + 1, size=batch)
    window_BL: npt.NDArray[np.int64] = tokens[starts[:, None] + np.arange(length)].astype(np.int64)
    return window_BL
