"""Scores of free text against one right answer or several, as SQuAD, MRQA and ReCoRD have them."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from vip_train.tasks.task import Example

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=1 << 16)  # right answers are the same at every evaluation
def normalized(text: str) -> str:
    """The official normalisation: lower case, no ASCII punctuation, then no English articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """Share of answers that equal one of the right ones when both are normalised."""
    return _mean_of_best(lambda answer, right: float(answer == right), answers, examples)


def f1(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """F1 of the words that the answer shares with a right one, the best of the right ones, mean over examples.

    An answer of which nothing is left by normalisation has 0, also where the right one is such; so the official scorer has it.
    """
    return _mean_of_best(_shared, answers, examples)


def _mean_of_best(compare: Callable[[str, str], float], answers: Sequence[str], examples: Sequence[Example]) -> float:
    best = [
        max(compare(normalized(answer), normalized(right)) for right in example.references or (example.target,))
        for answer, example in zip(answers, examples, strict=True)
    ]
    return sum(best) / len(best)


def _shared(answer: str, right: str) -> float:
    given, wanted = answer.split(), right.split()
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted)) if common else 0.0
