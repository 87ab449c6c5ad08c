"""What a metric is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from vip_train.tasks.task import Example


class Score(Protocol):
    """Compares answers with examples."""

    def __call__(self, answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
        """A score over a whole split, the higher the better, 1 if all is right.

        Args:
            answers: what the model answered, in the order of the examples. Where answers are fixed, their labels, and "" for a
                text that is none of them.
            examples: of the split. Where answers are fixed, their targets are labels too.
            labels: all there are, in the official order; none where answers are free text.
        """


def _says_something(answer: str) -> bool:
    return bool(answer.strip())


class Metric(NamedTuple):
    """A way to score, and which free texts it can make sense of."""

    score: Score
    is_readable: Callable[[str], bool] = _says_something
    """Whether a written answer can be parsed; one that cannot is wrong, and counted."""
    wants_frequent: bool = False
    """Whether the most frequent answer is the best constant one, so that none has to be tried."""
