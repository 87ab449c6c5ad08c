"""Accuracy, macro-F1 and Matthews' correlation against arithmetic by hand."""

import math

import pytest
from vip_train.metrics import METRICS
from vip_train.tasks import Example

LABELS = ("entailment", "contradiction", "neutral")
GOLD = ("entailment", "entailment", "entailment", "contradiction", "contradiction", "neutral")


def score(name: str, answers: tuple[str, ...], gold: tuple[str, ...] = GOLD, labels: tuple[str, ...] = LABELS) -> float:
    return METRICS[name].score(answers, [Example("text", target, "") for target in gold], labels)


def test_accuracy_passes_over_white_space_around_an_answer_and_nothing_else() -> None:
    assert score("accuracy", ("a b ", "c", "D", "e"), ("a b", "c", "d", " e"), ()) == 3 / 4
    assert score("accuracy", ("a  b", "", "x", "y"), ("a b", "c", "d", " e"), ()) == 0.0


def test_macro_f1_is_the_mean_over_all_labels() -> None:
    answers = ("entailment", "entailment", "contradiction", "contradiction", "neutral", "entailment")
    # entailment: 2 right of 3 given and 3 wanted; contradiction: 1 of 2 and 2; neutral: 0.
    assert score("macro_f1", answers) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert score("macro_f1", GOLD) == 1.0


def test_a_constant_answer_has_the_f1_of_one_label_of_three() -> None:
    assert score("macro_f1", ("entailment",) * 6) == pytest.approx((2 * 3 / (6 + 3)) / 3)


def test_a_label_nobody_gave_or_wanted_counts_as_0_and_an_unparsed_answer_is_no_label() -> None:
    assert score("macro_f1", ("entailment", "contradiction"), ("entailment", "contradiction")) == pytest.approx(2 / 3)
    assert score("macro_f1", ("entailment", ""), ("entailment", "contradiction")) == pytest.approx(1 / 3)
    assert score("accuracy", ("entailment", ""), ("entailment", "contradiction")) == 1 / 2


def test_matthews_correlation() -> None:
    gold, answers = ("yes", "yes", "yes", "no", "no"), ("yes", "yes", "no", "no", "yes")
    assert score("matthews", answers, gold) == pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2))
    assert score("matthews", ("yes",) * 5, gold) == 0.0
    assert score("matthews", gold, gold) == pytest.approx(1.0)
