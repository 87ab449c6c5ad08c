"""Mixtures by name: parts, weights, parts that are only evaluated, and names that cannot be meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.errors import UserError
from vip_train.tasks import get_task

COPA: dict[str, Any] = {"premise": "a", "choice1": "b", "choice2": "c", "question": "effect", "label": 0}
PAIR: dict[str, Any] = {"sentence1": "a", "sentence2": "b", "gold_label": "neutral", "genre": "fiction"}


def test_parts_and_weights_come_from_the_name() -> None:
    task = get_task("superglue/cb:2+superglue/rte+mrqa/bioasq:0")
    assert task.name == "superglue/cb:2+superglue/rte+mrqa/bioasq:0"
    assert task.weights == {"superglue/cb": 2.0, "superglue/rte": 1.0, "mrqa/bioasq": 0.0}
    assert list(task.parts) == list(task.weights)
    assert task.answers == {}


def test_examples_name_their_part_and_groups(put: Callable[..., Path], tmp_path: Path) -> None:
    put("COPA/train.jsonl", [COPA])
    put("COPA/val.jsonl", [COPA, COPA])
    put("multinli_1.0/multinli_1.0_dev_mismatched.jsonl", [PAIR])
    task = get_task("superglue/copa+mnli-mismatched:0")
    (example,) = task.load("train", tmp_path)
    assert (example.task, example.group, example.target) == ("superglue/copa", "superglue/copa", "choice1")
    found = [(one.task, one.group) for one in task.load("validation", tmp_path)]
    assert found == [*[("superglue/copa", "superglue/copa")] * 2, ("mnli-mismatched", "mnli-mismatched/fiction")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("superglue/cb+xyz", "'xyz' is unknown, known are anli/r1, "),
        ("superglue/cb+", "'' is unknown"),
        ("superglue/cb+superglue/cb", "superglue/cb comes twice, give it a weight instead: superglue/cb:2"),
        ("superglue/cb:x", "weight 'x' of superglue/cb must be a finite number of at least 0"),
        ("superglue/cb:-1", "weight '-1' of superglue/cb must be"),
        ("superglue/cb:nan+squad", "weight 'nan' of superglue/cb must be"),
        ("superglue/cb:inf+squad", "weight 'inf' of superglue/cb must be"),
        ("superglue/cb:", "weight '' of superglue/cb must be"),
        ("superglue/cb:0+squad:0", "every weight is 0, there is nothing to train on"),
        ("forms+mrqa/race", "mrqa/race has no split to train on, give it weight 0: mrqa/race:0"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        get_task(name)
    assert str(caught.value).startswith(f"task={name}: {said}")
