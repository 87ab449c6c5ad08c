"""What an evaluation counts as right."""

from collections.abc import Sequence
from typing import Protocol

from vip_train.tasks.task import Example


class Metric(Protocol):
    """Compares answers with examples."""

    def __call__(self, answers: Sequence[str], examples: Sequence[Example]) -> float:
        """A score over a whole split, the higher the better.

        Args:
            answers: what the model answered, in the order of the examples.
            examples: of the split.
        """


def exact_match(answers: Sequence[str], examples: Sequence[Example]) -> float:
    """Share of answers that are the target, up to white space around them."""
    right = sum(answer.strip() == example.target.strip() for answer, example in zip(answers, examples, strict=True))
    return right / len(examples)
