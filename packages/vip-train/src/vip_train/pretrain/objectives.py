"""The two pretraining objectives: span corruption, then prefix language modelling.

Notation: B batch, L raw tokens of a window, S source tokens, T target tokens.
"""

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
