"""RTE: its wording, its answers and the official files."""

import json
import os
from pathlib import Path

import pytest
from vip_train.tasks import Example, get_task

RTE = get_task("superglue/rte")


@pytest.mark.parametrize(("label", "answer"), [("entailment", "true"), ("not_entailment", "false")])
def test_a_row_becomes_text(label: str, answer: str, tmp_path: Path) -> None:
    row = {"premise": "It rained.", "hypothesis": " it was wet", "label": label, "idx": 3}
    (tmp_path / "RTE").mkdir()
    (tmp_path / "RTE" / "val.jsonl").write_text(json.dumps(row), encoding="utf-8")
    expected = Example("premise: It rained. hypothesis: it was wet true or false?", answer, "")
    assert RTE.load("validation", tmp_path) == [expected]


def test_the_hubs_integers_are_in_its_order() -> None:
    assert RTE.hub is not None
    assert RTE.hub.label_names == ("entailment", "not_entailment")
    assert set(RTE.hub.label_names) == set(RTE.answers)


@pytest.mark.real_data
@pytest.mark.skipif("VIP_DATA_DIR" not in os.environ, reason="VIP_DATA_DIR is not set")
def test_the_official_files_have_all_rows() -> None:
    folder = Path(os.environ["VIP_DATA_DIR"]) / "superglue"
    assert [len(RTE.load(split, folder)) for split in ("train", "validation")] == [2490, 277]
