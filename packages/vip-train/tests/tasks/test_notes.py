"""The built-in task: repeatable, balanced, its splits apart, every note complete and its answer the one asked for."""

import re
from collections import Counter, defaultdict
from typing import Any

import pytest
from vip_train.tasks import Example, get_task
from vip_train.tasks.notes import generate

NOTES = get_task("notes")
SPLITS: list[Any] = ["train", "validation"]
# Written down again on purpose: what the task means does not follow from its code.
VALUES = {
    "person": "Anna Henry Maria Peter Sarah Thomas Alice George",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "colour": "red green blue yellow white black brown grey",
    "animal": "dog cat horse bird sheep cow fish pig",
}
KIND = {value: kind for kind, values in VALUES.items() for value in values.split()}
ASKED = {
    **dict.fromkeys(("hotel", "school"), "day"),
    **dict.fromkeys(("garage", "tailor"), "colour"),
    **dict.fromkeys(("vet", "farm"), "animal"),
    **dict.fromkeys(("theatre", "court"), "person"),
}


def mentioned(note: str) -> list[str]:
    """The values a note names, as whole words."""
    return [word for word in re.findall(r"\w+", note) if word in KIND]


def frame(note: str) -> str:
    """The note with its values taken out."""
    return re.sub(r"\w+", lambda word: KIND.get(word[0], word[0]), note)


@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_the_same_every_time(split: Any) -> None:
    assert list(generate(split)) == list(generate(split))
    assert NOTES.load(split, None) == NOTES.load(split, None)


@pytest.mark.parametrize(("split", "rows"), [("train", 2400), ("validation", 400)])
def test_domains_and_kinds_of_answers_are_balanced(split: Any, rows: int) -> None:
    examples = NOTES.load(split, None)
    assert len(examples) == rows
    assert Counter(example.group for example in examples) == dict.fromkeys(ASKED, rows // 8)
    assert Counter(KIND[example.target] for example in examples) == dict.fromkeys(VALUES, rows // 4)


@pytest.mark.parametrize("split", SPLITS)
def test_every_note_names_one_value_of_each_kind_and_the_answer_is_the_one_asked_for(split: Any) -> None:
    for source, target, group, *_ in NOTES.load(split, None):
        values = {KIND[value]: value for value in mentioned(source)}
        assert sorted(KIND[value] for value in mentioned(source)) == sorted(VALUES), source
        assert target == values[ASKED[group]], source


def test_no_frame_of_the_validation_split_is_trained_on() -> None:
    frames = {split: {frame(example.source) for example in NOTES.load(split, None)} for split in SPLITS}
    assert not frames["train"] & frames["validation"]
    assert {split: len(found) for split, found in frames.items()} == {"train": 40, "validation": 16}


def test_all_values_are_answers_and_every_one_occurs() -> None:
    assert set(NOTES.answers) == set(KIND)
    assert all(label == answer for label, answer in NOTES.answers.items())
    assert {example.target for example in NOTES.load("train", None)} == set(KIND)


def test_a_constant_kind_is_right_in_a_quarter_of_the_notes() -> None:
    """So a prompt that does not follow its input cannot do well."""
    right: dict[str, int] = defaultdict(int)
    examples: list[Example] = NOTES.load("validation", None)
    for source, target, *_ in examples:
        for value in mentioned(source):
            right[KIND[value]] += value == target
    assert {kind: count / len(examples) for kind, count in right.items()} == dict.fromkeys(VALUES, 0.25)
