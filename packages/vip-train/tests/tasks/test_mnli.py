"""MNLI: the published names of fields, genres as groups, pairs without a label passed over but counted as lines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vip_train.tasks import Example, get_task

SOURCE = "premise: It rained. hypothesis: It was wet. true, false or neither?"
ROW: dict[str, Any] = {"sentence1": "It rained.", "sentence2": "It was wet.", "gold_label": "neutral", "genre": "fiction"}


def test_published_rows(put: Callable[..., Path], tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "gold_label": "-"}, {**ROW, "gold_label": "contradiction", "genre": "travel"}]
    for name in ("train", "dev_matched", "dev_mismatched"):
        put(f"multinli_1.0/multinli_1.0_{name}.jsonl", rows)
    expected = [Example(SOURCE, "neither", "fiction"), Example(SOURCE, "false", "travel")]
    assert get_task("mnli").load("train", tmp_path) == expected
    assert get_task("mnli").load("validation", tmp_path) == expected
    assert get_task("mnli-mismatched").load("validation", tmp_path) == expected


def test_a_broken_row_is_named_by_its_line(put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = put("multinli_1.0/multinli_1.0_train.jsonl", [{**ROW, "gold_label": "-"}, {**ROW, "sentence2": None}])
    assert refusal(get_task("mnli")) == f"{path}:2: field 'sentence2' is NoneType, text was expected"
