"""The pretraining objectives: span corruption, prefix language modelling, and short answers.

Notation: B batch, L raw tokens of a window, S source tokens, T target tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]


class Pair(NamedTuple):
    """What the encoder reads and what the decoder must write."""

    source_BS: Tokens
    target_BT: Tokens


def _random_partition(total: int, parts: int, rng: np.random.Generator) -> Tokens:
    """Splits `total` into `parts` positive lengths, every composition equally likely."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def span_corruption(
    window_BL: Tokens, *, sentinels: Tokens, eos: int, rng: np.random.Generator, density: float = 0.15, mean_span: float = 3.0
) -> Pair:
    """Replaces random spans by sentinels; the target lists each with the span it stands for (Raffel et al., 2020, 3.1.4).

    All rows corrupt the same number of tokens in the same number of spans, so both results are rectangular without padding:
    S = L - noise + spans + 1 and T = noise + spans + 1, the last token being `eos`.

    Raises:
        ValueError: the windows need more sentinels than there are.
    """
    batch, length = window_BL.shape
    noise = min(max(round(length * density), 1), length - 1)
    spans = min(max(round(noise / mean_span), 1), length - noise)
    if spans > len(sentinels):
        raise ValueError(f"windows of {length} tokens need {spans} sentinels, the vocabulary has {len(sentinels)}")
    source_BS = np.empty((batch, length - noise + spans + 1), np.int64)
    target_BT = np.empty((batch, noise + spans + 1), np.int64)
    source_BS[:, -1] = target_BT[:, -1] = eos
    for row in range(batch):
        kept = _random_partition(length - noise, spans, rng)
        lost = _random_partition(noise, spans, rng)
        read = wrote_source = wrote_target = 0
        for index in range(spans):
            source_BS[row, wrote_source : wrote_source + kept[index]] = window_BL[row, read : read + kept[index]]
            read += kept[index]
            wrote_source += kept[index]
            source_BS[row, wrote_source] = target_BT[row, wrote_target] = sentinels[index]
            wrote_source += 1
            target_BT[row, wrote_target + 1 : wrote_target + 1 + lost[index]] = window_BL[row, read : read + lost[index]]
            read += lost[index]
            wrote_target += 1 + lost[index]
    return Pair(source_BS, target_BT)


def prefix_lm(window_BL: Tokens, *, eos: int, rng: np.random.Generator) -> Pair:
    """Splits all windows at one random point in their middle half: the encoder reads the head, the decoder continues it.

    This is the adaptation Lester et al. (2021, 2) found a frozen T5 needs before soft prompts can steer it. The head is closed
    by `eos`, as every downstream source text is; the continuation is not, because it goes on.
    """
    batch, length = window_BL.shape
    split = int(rng.integers(length // 4, length - length // 4 + 1))
    closing_B1 = np.full((batch, 1), eos, np.int64)
    return Pair(np.concatenate([window_BL[:, :split], closing_B1], axis=1), window_BL[:, split:].copy())


def cloze(window_BL: Tokens, *, sentinel: int, eos: int, rng: np.random.Generator, longest: int = 3) -> Pair:
    """Hides one short span behind a sentinel; the target is that span alone, closed by `eos`.

    Neither of the other objectives ever asks for a short answer that ends. A frozen decoder that has not learned to give one
    cannot be steered to it by a prompt. The span has the same length, 1 to `longest`, in all rows.
    """
    batch, length = window_BL.shape
    span = int(rng.integers(1, longest + 1))
    start_B1 = rng.integers(0, length - span + 1, size=(batch, 1))
    place_1L = np.arange(length)[None]
    hidden_BL = (place_1L >= start_B1) & (place_1L < start_B1 + span)
    marked_BL = np.where(place_1L == start_B1, sentinel, window_BL)
    # Of each hidden span its first place stays, as the sentinel.
    kept_BL = marked_BL[~hidden_BL | (place_1L == start_B1)].reshape(batch, length - span + 1)
    closing_B1 = np.full((batch, 1), eos, np.int64)
    answer_BT = window_BL[hidden_BL].reshape(batch, span)
    return Pair(np.concatenate([kept_BL, closing_B1], axis=1), np.concatenate([answer_BT, closing_B1], axis=1))


def lookup(window_BL: Tokens, *, sentinel: int, eos: int, rng: np.random.Generator, cue: int = 3, longest: int = 3) -> Pair:
    """Puts `cue` tokens of the window in front of it; the target is what follows them there, 1 to `longest` tokens and `eos`.

    This teaches that what stands before the sentinel says what is wanted from the text after it, as a prompt does.
    """
    batch, length = window_BL.shape
    span = int(rng.integers(1, longest + 1))
    start_B1 = rng.integers(cue, length - span + 1, size=(batch, 1))
    cue_BC = np.take_along_axis(window_BL, start_B1 - cue + np.arange(cue)[None], axis=1)
    answer_BT = np.take_along_axis(window_BL, start_B1 + np.arange(span)[None], axis=1)
    return _asked(cue_BC, window_BL, answer_BT, sentinel=sentinel, eos=eos)


def echo(window_BL: Tokens, *, sentinel: int, eos: int, rng: np.random.Generator, longest: int = 3) -> Pair:
    """Puts 1 to `longest` tokens of elsewhere in front of the window; the target is those tokens, and `eos`.

    The elsewhere is the next row's window, so the text does not hold the answer: only what stands before the sentinel does.
    """
    span = int(rng.integers(1, longest + 1))
    start = int(rng.integers(0, window_BL.shape[1] - span + 1))
    said_BT = np.roll(window_BL, 1, axis=0)[:, start : start + span]
    return _asked(said_BT, window_BL, said_BT, sentinel=sentinel, eos=eos)


class Question(NamedTuple):
    """A question about two halves of a window, as token ids without `</s>`."""

    text: list[int]
    """The wording, put after the halves."""
    answers: tuple[list[int], ...]
    """For halves that belong together, that come from two places, and, if a third, whose second is written backwards."""


def judge(window_BL: Tokens, *, sentinel: int, eos: int, rng: np.random.Generator, question: Question) -> Pair:
    """Asks whether the second half of a window follows on the first; the target is one of the question's answers, and `eos`.

    This teaches to answer in a word that stands for a judgement on the text. Targets are padded with -100.
    """
    batch, half = len(window_BL), window_BL.shape[1] // 2
    first_BH, second_BH = window_BL[:, :half], window_BL[:, half : 2 * half]
    answer_B = rng.integers(0, len(question.answers), size=batch)
    candidates = np.stack([second_BH, np.roll(second_BH, 1, axis=0), second_BH[:, ::-1]])
    marker_B1, closing_B1 = (np.full((batch, 1), token, np.int64) for token in (sentinel, eos))
    question_BQ = np.tile(np.asarray(question.text, np.int64), (batch, 1))
    source_BS = np.concatenate([first_BH, marker_B1, candidates[answer_B, np.arange(batch)], question_BQ, closing_B1], axis=1)
    target_BT = np.full((batch, max(map(len, question.answers)) + 1), -100, np.int64)
    for row, answer in enumerate(answer_B):
        words = [*question.answers[answer], eos]
        target_BT[row, : len(words)] = words
    return Pair(source_BS, target_BT)


def padded(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], *, pad: int = 0) -> Pair:
    """Rows of different lengths: sources are filled up with `pad`, targets with -100."""

    def filled(rows: Sequence[Sequence[int]], value: int) -> Tokens:
        whole = np.full((len(rows), max(map(len, rows))), value, np.int64)
        for row, ids in enumerate(rows):
            whole[row, : len(ids)] = ids
        return whole

    return Pair(filled(sources, pad), filled(targets, -100))


def by_length(pair: Pair, *, parts: int, pad: int = 0) -> list[Pair]:
    """The rows sorted by their source's length, in parts that are filled up to their own longest source and target only."""
    length_B = (pair.source_BS != pad).sum(1)
    found = []
    for rows in np.array_split(np.argsort(length_B, kind="stable"), min(parts, len(length_B))):
        longest = (pair.target_BT[rows] != -100).sum(1).max()
        source_BS, target_BT = pair.source_BS[rows, : length_B[rows].max()], pair.target_BT[rows, :longest]
        found.append(Pair(np.ascontiguousarray(source_BS), np.ascontiguousarray(target_BT)))
    return found


def _asked(front_BC: Tokens, window_BL: Tokens, answer_BT: Tokens, *, sentinel: int, eos: int) -> Pair:
    """`front sentinel window eos` and `answer eos`."""
    marker_B1, closing_B1 = (np.full((len(window_BL), 1), token, np.int64) for token in (sentinel, eos))
    source_BS = np.concatenate([front_BC, marker_B1, window_BL, closing_B1], axis=1)
    return Pair(source_BS, np.concatenate([answer_BT, closing_B1], axis=1))
