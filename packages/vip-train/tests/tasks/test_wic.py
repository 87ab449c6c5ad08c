"""WiC: the word is marked at the published positions; positions outside a sentence are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from vip_train.tasks import Example
from vip_train.tasks.wic import WIC

ROW = {
    "word": "run",
    "sentence1": "Run rogue.",
    "sentence2": "Run: she ran 10 miles.",
    "start1": 0,
    "end1": 3,
    "start2": 9,
    "end2": 12,
    "label": False,
    "idx": 1,
}


def test_a_row_becomes_text(put: Callable[..., Path], tmp_path: Path) -> None:
    put("WiC/train.jsonl", [ROW, {**ROW, "label": True}])
    source = "word: run sentence1: *Run* rogue. sentence2: Run: she *ran* 10 miles. same meaning?"
    assert WIC.load("train", tmp_path) == [Example(source, "no", ""), Example(source, "yes", "")]


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (4, 2), (20, 23)])
def test_positions_outside_a_sentence_are_refused(
    start: int, end: int, put: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    path = put("WiC/train.jsonl", [ROW, {**ROW, "start2": start, "end2": end}])
    said = f"{path}:2: fields 'start2' and 'end2' are {start} and {end}, the sentence has 22 characters"
    assert refusal(WIC) == said


@pytest.mark.parametrize("name", ["word", "sentence1", "start2", "end1", "label"])
def test_a_missing_field_is_named(name: str, put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = put("WiC/train.jsonl", [{key: value for key, value in ROW.items() if key != name}])
    assert refusal(WIC).startswith(f"{path}:1: field '{name}' is missing")


@pytest.mark.real_data
def test_the_official_files_have_all_rows_with_the_word_marked(real_data: Path) -> None:
    train, validation = WIC.load("train", real_data), WIC.load("validation", real_data)
    assert (len(train), len(validation)) == (5428, 638)
    assert all(example.source.count("*") >= 4 for example in train + validation)
