"""How often each target comes in a split. N examples."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vip_train.tasks.task import Example


class Frequencies(NamedTuple):
    """Of the targets of some examples."""

    common: list[str]
    """The most frequent ones, of equals the first."""
    entropy: float
    """Of all, in nats."""


def frequencies(examples: Sequence[Example], most: int, wanted: Callable[[Example], bool] = lambda _: True) -> Frequencies:
    """Counts targets by their hashes, 16 bytes each; there may be more text than memory holds.

    Args:
        examples: of a split.
        most: how many frequent ones are returned.
        wanted: which of the examples count; by default all.
    """
    pairs = ((row, hash(example.target)) for row, example in enumerate(examples) if wanted(example))
    found_N2 = np.fromiter(pairs, dtype=np.dtype((np.int64, 2)))
    _, first, count = np.unique(found_N2[:, 1], return_index=True, return_counts=True)
    common = [examples[int(found_N2[first[place], 0])].target for place in np.lexsort((first, -count))[:most]]
    # Sorted, because hashes differ from process to process, and a sum's last bit with its order.
    share = np.sort(count) / max(1, len(found_N2))
    return Frequencies(common, float(-(share * np.log(share)).sum()) + 0.0)
