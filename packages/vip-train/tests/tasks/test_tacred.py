"""TACRED: its records, marks and types, the 42 labels in words, and broken records by number."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.errors import UserError
from vip_train.tasks import Example
from vip_train.tasks.tacred import LABELS, TACRED

RECORD: dict[str, Any] = {
    "id": "e7",
    "token": ["Ada", "Berg", "-LRB-", "36", "-RRB-", "died", "in", "Bonn", "."],
    "relation": "per:city_of_death",
    "subj_start": 0,
    "subj_end": 1,
    "obj_start": 7,
    "obj_end": 7,
    "subj_type": "PERSON",
    "obj_type": "STATE_OR_PROVINCE",
    "stanford_pos": [],
}
SOURCE = "*Ada Berg* ( 36 ) died in #Bonn# . How are *Ada Berg*, person, and #Bonn#, state or province, related?"


@pytest.mark.parametrize("name", ["tacred/train.json", "tacred/data/json/train.json"])
def test_a_record_becomes_text(name: str, put: Callable[..., Path], tmp_path: Path) -> None:
    put(name, json.dumps([RECORD, {**RECORD, "relation": "no_relation"}]))
    expected = [Example(SOURCE, "person city of death", ""), Example(SOURCE, "no relation", "")]
    assert TACRED.load("train", tmp_path) == expected


def test_there_are_41_relations_and_none() -> None:
    assert len(LABELS) == len(set(LABELS)) == 42
    assert sum(label.startswith("per:") for label in LABELS) == 25
    assert TACRED.answers["org:top_members/employees"] == "organization top members or employees"
    assert TACRED.answers["per:stateorprovince_of_birth"] == "person state or province of birth"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subj_end": 9}, "a span from word 0 to before 10 is outside the sentence of 9 words"),
        ({"obj_start": -1}, "a span from word -1 to before 8 is outside the sentence of 9 words"),
        ({"obj_end": "7"}, "field 'obj_end' is str, a whole number was expected"),
        ({"token": None}, "field 'token' is NoneType, a list was expected"),
        ({"relation": "per:cat"}, "label 'per:cat' is unknown, allowed are 'no_relation', "),
    ],
)
def test_a_broken_record_is_named_by_its_number(
    change: dict[str, Any], said: str, put: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    path = put("tacred/train.json", json.dumps([RECORD, {**RECORD, **change}]))
    assert refusal(TACRED).startswith(f"{path} [1]: {said}")


def test_it_is_on_no_hub() -> None:
    with pytest.raises(UserError, match=r"^tacred: is not on the hub; name the folder that holds tacred/ by --data-dir$"):
        TACRED.load("train", None)
