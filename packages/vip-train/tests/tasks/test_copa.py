"""COPA: its wording, its labels as numbers, and the official files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from vip_train.tasks import Example
from vip_train.tasks.copa import COPA

ROW = {"premise": "It rained.", "choice1": "The street was wet.", "choice2": "The sun shone.", "question": "effect", "idx": 0}
SOURCE = "choice1: The street was wet. choice2: The sun shone. premise: It rained. question: effect"


def test_a_row_becomes_text(put: Callable[..., Path], tmp_path: Path) -> None:
    put("COPA/train.jsonl", [{**ROW, "label": 0}, {**ROW, "label": 1}])
    assert COPA.load("train", tmp_path) == [Example(SOURCE, "choice1", ""), Example(SOURCE, "choice2", "")]


def test_a_label_beyond_0_and_1_is_refused(put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = put("COPA/train.jsonl", [{**ROW, "label": 0}, {**ROW, "label": -1}])
    assert refusal(COPA) == f"{path}:2: label '-1' is unknown, allowed are '0', '1'"


@pytest.mark.real_data
def test_the_official_files_have_all_rows(real_data: Path) -> None:
    assert [len(COPA.load(split, real_data)) for split in ("train", "validation")] == [400, 100]  # type: ignore[arg-type]
