"""BoolQ: its wording, its answers, what truncation leaves, and the official files."""

import json
import os
from pathlib import Path

import pytest
from vip_train.backbones import Backbone
from vip_train.data import encode_sources
from vip_train.tasks import Example, get_task

BOOLQ = get_task("superglue/boolq")


@pytest.mark.parametrize(("label", "answer"), [(True, "yes"), (False, "no")])
def test_a_row_becomes_text(label: bool, answer: str, tmp_path: Path) -> None:
    row = {"question": "is rain wet", "passage": "Rain is water.", "label": label, "idx": 3}
    (tmp_path / "BoolQ").mkdir()
    (tmp_path / "BoolQ" / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert BOOLQ.load("train", tmp_path) == [Example("question: is rain wet? passage: Rain is water.", answer, "")]


def test_truncation_never_cuts_the_question(backbone: Backbone) -> None:
    question = "question: bake milo? passage:"
    whole = encode_sources([f"{question} {'tura ' * 50}"], backbone.tokenizer, 40)
    assert whole.truncated == 1
    kept = backbone.tokenizer(question)["input_ids"][:-1]
    assert whole.input_ids[0, : len(kept)].tolist() == kept


def test_the_hubs_integers_are_in_its_order() -> None:
    assert BOOLQ.hub is not None
    assert BOOLQ.hub.label_names == ("false", "true")
    assert set(BOOLQ.hub.label_names) == set(BOOLQ.answers)


@pytest.mark.real_data
@pytest.mark.skipif("VIP_DATA_DIR" not in os.environ, reason="VIP_DATA_DIR is not set")
def test_the_official_files_have_all_rows() -> None:
    folder = Path(os.environ["VIP_DATA_DIR"]) / "superglue"
    assert [len(BOOLQ.load(split, folder)) for split in ("train", "validation")] == [9427, 3270]
