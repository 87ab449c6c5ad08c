"""The registry: every task under its name, whole, and an unknown name with those there are."""

from typing import Any

import pytest
from vip_train.errors import UserError
from vip_train.metrics import METRICS
from vip_train.tasks import TASKS, TextTask, get_task

SUPERGLUE = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")
MRQA = ("squad", "newsqa", "triviaqa", "searchqa", "hotpotqa", "naturalquestions")
OTHER_DOMAINS = ("bioasq", "drop", "duorc", "race", "relationextraction", "textbookqa")


def test_the_tasks_of_the_paper_are_there() -> None:
    wanted = {f"superglue/{name}" for name in SUPERGLUE} | {f"mrqa/{name}" for name in MRQA + OTHER_DOMAINS}
    wanted |= {"squad", "anli/r1", "anli/r2", "anli/r3", "mnli", "conll2003", "semeval2010-task8", "tacred"}
    assert wanted <= set(TASKS)
    assert {name for name, task in TASKS.items() if "train" not in task.files and not name.startswith("suite/")} == {
        *(f"mrqa/{name}" for name in OTHER_DOMAINS),
        *("superglue/ax-b", "superglue/ax-g", "mnli-mismatched"),
    }


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_found_by_its_name_and_can_be_had(name: str) -> None:
    task = get_task(name)
    assert isinstance(task, TextTask)
    assert task.name == name
    assert task.fields
    assert task.generate or task.folder
    assert len(set(task.answers.values())) == len(task.answers) != 1
    assert task.metrics
    assert set(task.metrics) <= set(METRICS)
    assert (task.parts, task.weights) == ({"": task}, {"": 1.0})


@pytest.mark.parametrize("name", TASKS)
def test_what_is_on_the_hub_needs_no_script(name: str) -> None:
    """A branch that the hub made of Parquet, or a commit that holds it; never the main branch, which changes."""
    if (hub := TASKS[name].hub) is not None:
        assert hub.revision == "refs/convert/parquet" or len(hub.revision) == 40
        assert set(hub.label_names) <= set(TASKS[name].answers)
        assert set(hub.splits or {"train", "validation"}) >= set(TASKS[name].files)


def test_answers_are_words_of_a_small_vocabulary() -> None:
    """T5's vocabulary has no angle brackets, braces, tildes, carets or backslashes: they would all be the unknown token."""
    for task in TASKS.values():
        for text in [task.template.format(**dict.fromkeys(task.fields, "")), *task.answers.values()]:
            assert not set(text) & set("<>{}~^\\"), task.name


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError) as caught:
        get_task("superglue/xyz")
    assert str(caught.value) == f"task=superglue/xyz: is unknown, known are {', '.join(sorted(TASKS))}"


# --- rows without a label ---

UNLABELLED: dict[str, tuple[dict[str, Any], str]] = {
    "superglue/cb": (
        {"premise": "It rains. ", "hypothesis": "it rains"},
        "premise: It rains. hypothesis: it rains true, false or neither?",
    ),
    "superglue/wic": (
        {"word": "run", "sentence1": "Run!", "sentence2": "He ran.", "start1": 0, "end1": 3, "start2": 3, "end2": 6},
        "word: run sentence1: *Run*! sentence2: He *ran*. same meaning?",
    ),
    "superglue/wsc": (
        {
            "text": "Ann saw her.",
            "target": {"span1_text": "Ann", "span1_index": 0, "span2_text": "her", "span2_index": 2},
        },
        "*Ann* saw #her.# Is #her# *Ann*?",
    ),
    "superglue/multirc": (
        {"question": "Who?", "answer": "Ann", "paragraph": "Ann did."},
        "question: Who? answer: Ann paragraph: Ann did.",
    ),
    "superglue/record": (
        {"query": "@placeholder ran.", "entities": ["Ann", "Bob"], "passage": "Ann ran\n@highlight\nBob sat"},
        "query: @placeholder ran. entities: Ann, Bob passage: Ann ran Bob sat.",
    ),
    "squad": ({"question": "Who?", "context": "Ann did."}, "question: Who? context: Ann did."),
    "mrqa/bioasq": ({"question": "Who?", "context": "Ann did."}, "question: Who? context: Ann did."),
    "conll2003": ({"tokens": ["Ann", "ran"]}, "sentence: Ann ran"),
    "semeval2010-task8": (
        {"sentence": "<e1>Rain</e1> brings <e2>floods</e2>."},
        "*Rain* brings #floods#. How are *Rain* and #floods# related?",
    ),
    "tacred": (
        {
            "token": ["Ann", "of", "Ely"],
            "subj_start": 0,
            "subj_end": 0,
            "subj_type": "PERSON",
            "obj_start": 2,
            "obj_end": 2,
            "obj_type": "CITY",
        },
        "*Ann* of #Ely# How are *Ann*, person, and #Ely#, city, related?",
    ),
}


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_row_without_a_label_is_worded(name: str) -> None:
    row, source = UNLABELLED[name]
    assert TASKS[name].word(TASKS[name].read_texts("rows:1", row)) == source


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_row_that_cannot_be_worded_is_named_with_its_field(name: str) -> None:
    row, _ = UNLABELLED[name]
    missing = next(iter(row))
    with pytest.raises(UserError, match=r"^rows:1: field '\w+' is missing"):
        TASKS[name].read_texts("rows:1", {key: value for key, value in row.items() if key != missing})


def test_every_task_that_makes_its_fields_can_do_so_without_a_label() -> None:
    made = {task.texts: name for name, task in reversed(TASKS.items()) if task.texts}  # some tasks share how
    assert {TASKS[name].texts for name in UNLABELLED} >= made.keys()
