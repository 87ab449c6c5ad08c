"""Exact match and F1 of free text: the official normalisation, several right answers, and what is left of nothing."""

import pytest
from vip_train.metrics import METRICS
from vip_train.metrics.text import normalized
from vip_train.tasks import Example


def both(answer: str, *references: str) -> tuple[float, float]:
    examples = [Example("text", references[0], "", references=references)]
    return METRICS["exact_match"].score([answer], examples, ()), METRICS["f1"].score([answer], examples, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Norman Conquest", "norman conquest"),
        ("  A\ttale of an\nant ", "tale of ant"),
        ("U.S.A., 1999!", "usa 1999"),
        ("state-of-the-art", "stateoftheart"),  # punctuation goes first, so no article is left inside
        ("the-", ""),
        ("theatre", "theatre"),
        ("Ünïcode — “quoted”", "ünïcode — “quoted”"),  # only ASCII punctuation
        ("İstanbul", "i̇stanbul"),
        ("$10", "10"),
        ("a an the", ""),
        ("", ""),
    ],
)
def test_the_official_normalisation(text: str, expected: str) -> None:
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("Denver Broncos", ("Denver Broncos",), (1, 1)),
        ("the denver  broncos!", ("Denver Broncos",), (1, 1)),
        ("Broncos", ("Denver Broncos",), (0, 2 / 3)),
        ("Denver Broncos of Denver", ("Denver Broncos",), (0, 2 * 2 / (4 + 2))),
        ("Denver Denver", ("Denver Broncos",), (0, 2 * 1 / (2 + 2))),  # a word counts as often as both have it
        ("Broncos", ("Denver Broncos", "The Broncos", "Denver"), (1, 1)),
        ("in Denver", ("Broncos", "Denver", "Denver Broncos in town"), (0, 2 / 3)),
        ("cats", ("dogs",), (0, 0)),
        ("", ("dogs",), (0, 0)),
        ("the", ("a",), (1, 0)),  # equal when normalised, yet no word is shared
        ("naïve café", ("Café naïve",), (0, 1)),
    ],
)
def test_the_best_of_the_right_answers_counts(answer: str, references: tuple[str, ...], expected: tuple[float, float]) -> None:
    assert both(answer, *references) == pytest.approx(expected)


def test_it_is_a_mean_over_examples_and_the_target_alone_where_there_are_no_references() -> None:
    examples = [Example("text", "cats", ""), Example("text", "cats", "", references=("cats", "a dog"))]
    assert METRICS["exact_match"].score(["cats", "dog"], examples, ()) == 1.0
    assert METRICS["f1"].score(["dog", "dog"], examples, ()) == 0.5
