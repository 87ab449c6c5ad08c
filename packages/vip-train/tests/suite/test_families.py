"""The suite: rows that are the same everywhere, splits that share no frame, and labels that the texts bear out."""

import hashlib
import itertools
import json
import re
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest
import yaml
from vip_train.errors import UserError
from vip_train.suite import VERSION
from vip_train.suite.domains import HELD_OUT, TRAINED, domain, slots
from vip_train.suite.families import FAMILIES, RELATIONS, generate
from vip_train.suite.scenes import polished
from vip_train.tasks import TASKS, Example
from vip_train.tasks.task import Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
NAMES = [name for name in TASKS if name.startswith("suite/")]


def of(name: str) -> list[tuple[Split, list[Example]]]:
    task = TASKS[name]
    return [(split, task.load(split, None)) for split in task.files]


def test_there_are_seven_families_and_five_of_them_in_new_domains() -> None:
    assert set(NAMES) == {*(f"suite/{name}" for name in FAMILIES), *(f"suite/{name}-new" for name in list(FAMILIES)[:5])}


def test_rows_are_those_of_this_version() -> None:
    """If this fails on purpose, raise VERSION and write the new sums."""
    sums = {}
    for name in NAMES:
        for split, examples in of(name):
            sums[f"{name} {split}"] = hashlib.sha256(json.dumps(examples).encode()).hexdigest()[:16]
    found = yaml.safe_load((files("vip_train") / "suite" / "checksums.yaml").read_text(encoding="utf-8"))
    assert found == {"version": VERSION, "rows": sums}


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_large_and_even_over_domains(name: str) -> None:
    for split, examples in of(name):
        assert len(examples) == {"train": 3000, "validation": 600, "test": 1200}[split]
        if groups := Counter(one.group for one in examples if one.group):
            assert set(groups) == set(HELD_OUT if name.endswith("-new") else TRAINED)
            assert max(groups.values()) - min(groups.values()) <= 1
        task = TASKS[name]
        if task.answers:
            assert {one.target for one in examples} == set(task.answers.values()) or name.startswith("suite/relations")


def kept(name: str) -> dict[Split, set[str]]:
    """Frames, questions and claims of a domain."""
    found: dict[Split, set[str]] = {split: set(domain(name).moods[split]) for split in SPLITS}
    for event in domain(name).events:
        for split in SPLITS:
            found[split] |= set(event.frames[split])
            for texts in (*event.asks.values(), *event.claims.values()):
                found[split] |= {text for text in texts[split] if text}
    return found


def test_no_text_of_a_split_is_in_another_of_any_domain() -> None:
    every = {name: kept(name) for name in TRAINED + HELD_OUT}
    for first, second in itertools.combinations(SPLITS, 2):
        assert not set().union(*(one[first] for one in every.values())) & set().union(*(one[second] for one in every.values()))
    for name, one in every.items():
        assert bool(one["train"]) == (name in TRAINED)
        assert len(one["test"]) >= 10


@pytest.mark.parametrize("name", TRAINED + HELD_OUT)
def test_frames_name_slots_that_there_are(name: str) -> None:
    one = domain(name)
    assert one.asked in one.words
    for event in one.events:
        texts = [frame for split in SPLITS for frame in event.frames[split]]
        for slot, by_split in (*event.asks.items(), *event.claims.items()):
            assert slot in one.words
            texts += [text for split in SPLITS for text in by_split[split]]
        assert set().union(*map(slots, texts)) <= one.words.keys()
        assert set(event.relations) <= set(RELATIONS)
        assert {slot for pair in event.relations.values() for slot in pair} <= one.words.keys()
    for mood in (mood for split in SPLITS for mood in one.moods[split]):
        assert slots(mood) == {"thing", "word"}


@pytest.mark.parametrize("name", ["suite/qa", "suite/qa-new"])
def test_an_answer_is_in_its_passage_and_the_question_names_one_sentence(name: str) -> None:
    for _, examples in of(name):
        for one in examples:
            question, passage = one.source.removeprefix("question: ").split(" context: ")
            assert one.target.lower() in passage.lower()
            assert question.endswith("?")


def test_a_word_is_praise_in_one_domain_or_thing_and_blame_in_another() -> None:
    judged: dict[str, set[str]] = {}
    for name in TRAINED:
        for thing in domain(name).things:
            judged.setdefault(thing.praise, set()).add("praise")
            judged.setdefault(thing.blame, set()).add("blame")
    assert all(len(judgements) == 2 for judgements in judged.values())


def test_claims_are_true_false_or_about_what_is_not_said() -> None:
    """By slots: a contradiction has another word of the same slot than the premise, a neutral claim one it does not name."""
    rows: list[Any] = list(generate("nli", TRAINED, "train"))
    assert all(abs(count - 1000) < 5 for count in Counter(row["label"] for row in rows).values())
    for row in rows:
        words = [word for given in domain(row["domain"]).words.values() for word in given.words]
        told = {word for word in words if re.search(rf"\b{re.escape(word)}", row["premise"], re.IGNORECASE)}
        claimed = {word for word in words if re.search(rf"\b{re.escape(word)}", row["hypothesis"], re.IGNORECASE)}
        assert (claimed <= told) == (row["label"] == "entailment"), row


def test_marked_words_are_in_the_sentence() -> None:
    for row in generate("relations", TRAINED, "train"):
        assert row["noun1"] in row["text"] or row["noun1"].capitalize() in row["text"].capitalize()
        assert row["text"].count("*") == row["text"].count("#") == 2


def test_tags_are_as_many_as_tokens_and_names_are_whole() -> None:
    for row in generate("ner", HELD_OUT, "test"):
        assert len(row["tokens"]) == len(row["ner_tags"])
    listed = TASKS["suite/ner"].load("test", None)
    assert any("person: Mr. Brown" in one.target for one in listed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a excellent idea", "An excellent idea"),
        ("a useful box, a useless box, a union", "A useful box, a useless box, a union"),
        ("such a *omelette*, a house", "Such an *omelette*, a house"),
        ("in a area", "In an area"),
    ],
)
def test_articles_and_capitals_are_put_right(text: str, expected: str) -> None:
    assert polished(text) == expected


def test_a_split_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="suite/qa-new: has no train split, an adapter can only be evaluated on it"):
        TASKS["suite/qa-new"].load("train", None)
    with pytest.raises(UserError, match=r"superglue/cb: has no test split\Z"):
        TASKS["superglue/cb"].load("test", None)
