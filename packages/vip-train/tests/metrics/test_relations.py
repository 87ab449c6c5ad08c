"""The official relation scores: SemEval's printed examples, and cases counted by hand."""

import re
from pathlib import Path

import pytest
from vip_train.metrics import METRICS
from vip_train.tasks import Example, get_task

SEMEVAL, TACRED = (tuple(get_task(name).answers) for name in ("semeval2010-task8", "tacred"))


def directed(*rows: tuple[str, str]) -> float:
    examples = [Example("text", gold, "") for gold, _ in rows]
    return METRICS["directed_macro_f1"].score([given for _, given in rows], examples, SEMEVAL)


def micro(*rows: tuple[str, str]) -> float:
    examples = [Example("text", gold, "") for gold, _ in rows]
    return METRICS["positive_micro_f1"].score([given for _, given in rows], examples, TACRED)


def test_a_wrong_direction_is_one_too_many_and_one_missed() -> None:
    cause, effect = "Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)"
    assert directed((cause, cause), (cause, effect)) == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert directed((cause, cause), (effect, effect), (cause, "Other")) == pytest.approx(2 * 2 / (2 * 2 + 1))


def test_other_is_no_relation_of_the_mean_but_takes_from_the_others() -> None:
    cause, whole = "Cause-Effect(e1,e2)", "Component-Whole(e1,e2)"
    assert directed(("Other", "Other"), (cause, cause)) == 1.0
    assert directed(("Other", cause), (cause, cause)) == pytest.approx(2 / 3)
    assert directed((cause, cause), (whole, "Other")) == pytest.approx((1 + 0) / 2)
    assert directed((cause, ""), (cause, cause)) == pytest.approx(2 / 3)
    assert directed(("Other", cause)) == 0.0


@pytest.mark.real_data
@pytest.mark.parametrize("number", [1, 2])
def test_the_official_examples_to_the_printed_digit(number: int, real_data: Path) -> None:
    folder = real_data / "semeval2010_task8" / "scorer_examples"

    def column(name: str) -> dict[str, str]:
        lines = (folder / f"{name}{number}.txt").read_text(encoding="utf-8").splitlines()
        return dict(line.split("\t") for line in lines)

    gold, given = column("answer_key"), column("proposed_answer")
    assert len(given) < len(gold), "some are skipped"
    printed = (folder / f"result_scores{number}.txt").read_text(encoding="utf-8")
    (official,) = re.findall(r"official score is .*= ([\d.]+)%", printed)
    assert f"{100 * directed(*((label, given.get(key, '')) for key, label in gold.items())):.2f}" == official


def test_tacred_counts_relations_alone() -> None:
    none, title, age = "no_relation", "per:title", "per:age"
    # Two right; given: title, title, age, title = 4; wanted: title, title, age, age = 4.
    rows = ((title, title), (title, none), (age, age), (age, title), (none, title), (none, none))
    assert micro(*rows) == pytest.approx(2 * 2 / (4 + 4))
    assert micro((none, none)) == 0.0
    assert micro((title, none), (none, none)) == 0.0
    assert micro((title, ""), (title, title)) == pytest.approx(2 / 3)
