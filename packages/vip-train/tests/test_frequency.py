"""Targets are counted as a Counter would."""

import math
from collections import Counter

import pytest
from vip_train.frequency import frequencies
from vip_train.tasks import Example

TARGETS = ["b", "a", "c", "a", "b", "d", "e", "a"]
EXAMPLES = [Example("", target, "") for target in TARGETS]


def test_the_most_frequent_come_first_and_of_equals_the_first() -> None:
    assert frequencies(EXAMPLES, 10).common == ["a", "b", "c", "d", "e"]
    assert frequencies(EXAMPLES, 2).common == ["a", "b"]


def test_the_entropy_is_that_of_all() -> None:
    share = [count / len(TARGETS) for count in Counter(TARGETS).values()]
    assert frequencies(EXAMPLES, 1).entropy == pytest.approx(-sum(one * math.log(one) for one in share))
    assert str(frequencies(EXAMPLES[:1], 1).entropy) == "0.0", "and not -0.0"


def test_only_those_that_are_wanted_count() -> None:
    found = frequencies(EXAMPLES, 10, lambda example: example.target in "de")
    assert (found.common, found.entropy) == (["d", "e"], pytest.approx(math.log(2)))
    assert frequencies(EXAMPLES, 10, lambda _: False) == ([], 0.0)
