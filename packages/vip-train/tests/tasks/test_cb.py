"""CB: its wording, its answers and the official files."""

import json
import os
from pathlib import Path

import pytest
from vip_train.tasks import Example, get_task

CB = get_task("superglue/cb")


@pytest.mark.parametrize(("label", "answer"), [("entailment", "true"), ("contradiction", "false"), ("neutral", "neither")])
def test_a_row_becomes_text(label: str, answer: str, tmp_path: Path) -> None:
    row = {"premise": "It rained. ", "hypothesis": "it was wet", "label": label, "idx": 3}
    (tmp_path / "CB").mkdir()
    (tmp_path / "CB" / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    expected = Example("premise: It rained. hypothesis: it was wet true, false or neither?", answer, "")
    assert CB.load("train", tmp_path) == [expected]


def test_the_hubs_integers_are_in_its_order() -> None:
    assert CB.hub is not None
    assert CB.hub.label_names == ("entailment", "contradiction", "neutral")
    assert set(CB.hub.label_names) == set(CB.answers)


@pytest.mark.real_data
@pytest.mark.skipif("VIP_DATA_DIR" not in os.environ, reason="VIP_DATA_DIR is not set")
def test_the_official_files_have_all_rows() -> None:
    folder = Path(os.environ["VIP_DATA_DIR"]) / "superglue"
    assert [len(CB.load(split, folder)) for split in ("train", "validation")] == [250, 56]
