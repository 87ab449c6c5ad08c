"""Scores by a task's own metrics: labels in place of their words, parts, groups, unparsed answers, constant ones."""

import math
from typing import NamedTuple

import pytest
from vip_train.scoring import Scoring
from vip_train.tasks import Example, get_task


class Part(NamedTuple):
    answers: dict[str, str]
    metrics: tuple[str, ...]


def examples(*targets: str, task: str = "", group: str = "") -> list[Example]:
    return [Example("text", target, group, task=task) for target in targets]


MULTIRC = Part({"0": "false", "1": "true"}, ("f1a", "question_match"))
TEXT = Part({}, ("f1", "exact_match"))


def test_metrics_see_labels_whatever_the_wording() -> None:
    scoring = Scoring.of(get_task("semeval2010-task8"))
    found = scoring.score(["effect cause", "other", "cause effect"], examples("effect cause", "other", "effect cause"))
    # The third answer has the wrong direction.
    assert found.values == {"directed_macro_f1": pytest.approx(1 / 2), "accuracy": pytest.approx(2 / 3)}
    assert (found.unparsed, found.groups) == (0, {})


def test_an_answer_that_is_no_label_is_wrong_and_counted() -> None:
    found = Scoring({"": MULTIRC}).score(["true", "True", "", "false"], examples("true", "true", "true", "false"))
    assert found.values["f1a"] == pytest.approx(2 * 1 / (1 + 3))
    assert found.unparsed == 2


def test_free_text_is_unparsed_if_empty_and_a_list_if_it_is_none() -> None:
    assert Scoring({"": TEXT}).score(["", " ", "x"], examples("a", "b", "c")).unparsed == 2
    entities = Scoring({"": Part({}, ("entity_f1",))})
    rows = [Example("Bo", "person: Bo", "", references=("Bo B-PER",))] * 3
    found = entities.score(["person: Bo", "Bo", "none"], rows)
    assert found.unparsed == 1
    assert found.values == {"entity_f1": pytest.approx(2 * 1 / (1 + 3))}


def test_groups_have_the_first_metric_of_their_own() -> None:
    rows = examples("yes", "no", group="sea") + examples("yes", group="hill")
    found = Scoring.among(("yes", "no")).score(["yes", "yes", "no"], rows)
    assert found.groups == {"accuracy/hill": 0.0, "accuracy/sea": 0.5}
    assert found.values == {"accuracy": pytest.approx(1 / 3)}
    assert Scoring.among(("yes", "no")).score(["yes"], rows[:1]).groups == {}, "all are of one group"


def test_a_mixture_has_the_metrics_of_each_part_and_the_mean_of_the_trained() -> None:
    scoring = Scoring({"judge": MULTIRC, "write": TEXT, "watch": TEXT}, {"judge": 1, "write": 2, "watch": 0})
    rows = examples("true", task="judge") + examples("a b", task="write") + examples("c", task="watch")
    found = scoring.score(["true", "b", "c"], rows)
    assert list(found.values) == [
        "mean",
        *("f1a/judge", "question_match/judge"),
        *("f1/write", "exact_match/write", "f1/watch", "exact_match/watch"),
    ]
    assert found.values["mean"] == pytest.approx((1 + found.values["f1/write"]) / 2)
    assert found.values["exact_match/watch"] == 1.0
    assert scoring.choices(rows[0]) == ("false", "true")
    assert scoring.choices(rows[1]) == ()


def test_the_balance_counts_fixed_answers_by_part() -> None:
    scoring = Scoring({"judge": MULTIRC, "write": TEXT})
    rows = examples("true", "true", task="judge") + examples("a b", task="write")
    assert list(scoring.balance(rows).items()) == [("true/judge", 2), ("false/judge", 0)]


# --- constant answers ---


def test_the_baseline_of_accuracy_is_the_more_frequent_answer() -> None:
    scoring = Scoring.among(("yes", "no", "maybe"))
    found = scoring.baseline(examples("yes", "yes", "yes", "no"), examples("no", "no", "yes", "maybe", "yes"))
    assert found.scores == {"accuracy": pytest.approx(2 / 5)}
    assert found.answers == {"accuracy": "yes"}
    assert found.entropy == pytest.approx(-(3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4)))
    assert found.record() == {"majority_accuracy": found.scores["accuracy"], "label_entropy": found.entropy}
    assert scoring.baseline(examples("yes"), examples("no")).record() == {"majority_accuracy": 0.0, "label_entropy": 0.0}


def test_each_metric_has_the_constant_answer_that_is_best_on_the_training_split() -> None:
    """MultiRC: most answers are wrong, yet only "true" has an F1 of its own."""
    train = [example._replace(question=str(number // 2)) for number, example in enumerate(examples(*["false"] * 7, "true"))]
    found = Scoring({"": MULTIRC}).baseline(train, train[4:])
    assert found.answers == {"f1a": "true", "question_match": "false"}
    assert found.scores == {"f1a": pytest.approx(2 * 1 / (4 + 1)), "question_match": 1 / 2}


def test_a_metric_that_leaves_the_most_frequent_answer_out_takes_the_next() -> None:
    scoring = Scoring.of(get_task("tacred"))
    train = examples("no relation", "no relation", "no relation", "person age", "person title", "person title")
    assert scoring.baseline(train, train).answers == {"positive_micro_f1": "person title", "accuracy": "no relation"}


def test_the_baseline_of_free_text_is_the_most_frequent_answer() -> None:
    found = Scoring({"": TEXT}).baseline(examples("three", "two", "three"), examples("three cats", "two"))
    assert found.answers == {"f1": "three", "exact_match": "three"}
    assert found.scores == {"f1": pytest.approx((2 / 3 + 0) / 2), "exact_match": 0.0}


def test_a_part_that_is_only_evaluated_takes_what_the_others_are_trained_on() -> None:
    scoring = Scoring({"write": TEXT, "watch": TEXT}, {"write": 1, "watch": 0})
    found = scoring.baseline(examples("two", task="write"), examples("one", task="write") + examples("two", task="watch"))
    assert found.scores == {"mean": 0.0, "f1/write": 0.0, "exact_match/write": 0.0, "f1/watch": 1.0, "exact_match/watch": 1.0}


def test_a_part_that_nothing_like_it_is_trained_for_takes_its_first_answer() -> None:
    scoring = Scoring({"write": TEXT, "judge": MULTIRC}, {"write": 1, "judge": 0})
    found = scoring.baseline(examples("two", task="write"), examples("two", task="write") + examples("false", task="judge"))
    assert found.answers["f1a/judge"] == "false"
    assert found.scores["question_match/judge"] == 1.0
