"""F1a and exact match over questions against arithmetic by hand."""

import pytest
from vip_train.metrics import METRICS
from vip_train.tasks import Example

LABELS = ("0", "1")
# Question, gold, given. Questions need not stand together.
ROWS = (("a", "1", "1"), ("a", "0", "0"), ("b", "1", "0"), ("b", "0", "0"), ("c", "0", "1"), ("a", "1", "1"), ("d", "0", "0"))


def both(rows: tuple[tuple[str, str, str], ...]) -> tuple[float, float]:
    examples = [Example("text", gold, "", question=question) for question, gold, _ in rows]
    answers = [given for *_, given in rows]
    return METRICS["f1a"].score(answers, examples, LABELS), METRICS["question_match"].score(answers, examples, LABELS)


def test_answers_count_one_by_one_and_questions_as_a_whole() -> None:
    # Two right of three given and three wanted; a and d are whole.
    assert both(ROWS) == pytest.approx((2 / 3, 2 / 4))


def test_nothing_given_or_wanted_is_no_error() -> None:
    assert both((("a", "0", "0"),)) == (0.0, 1.0)
    assert both((("a", "1", "0"), ("a", "0", "0"))) == (0.0, 0.0)


def test_an_unparsed_answer_is_missed_and_spoils_its_question() -> None:
    assert both((("a", "1", ""), ("b", "1", "1"), ("c", "0", ""))) == pytest.approx((2 / 3, 1 / 3))
