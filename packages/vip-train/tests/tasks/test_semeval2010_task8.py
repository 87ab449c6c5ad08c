"""SemEval-2010 Task 8: blocks of sentence, relation and comment; marks; directions in the words of the answer."""

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from vip_train.tasks import Example
from vip_train.tasks.semeval2010_task8 import LABELS, RELATIONS, SEMEVAL2010_TASK8

FILE = (
    '1\t"The <e1>child</e1> said "no" to the <e2>rocking cradle</e2>."\r\nEntity-Destination(e1,e2)\r\nComment: "a"\r\n\r\n'
    '22\t"<e1>Heat</e1>, caused by <e2>fire</e2>."\nCause-Effect(e2,e1)\nComment:\n\n'
    "23\tA <e1>b</e1> <e2>c</e2>\nOther\n"
)
EXAMPLES = [
    Example(
        'The *child* said "no" to the #rocking cradle#. How are *child* and #rocking cradle# related?', "entity destination", ""
    ),
    Example("*Heat*, caused by #fire#. How are *Heat* and #fire# related?", "effect cause", ""),
    Example("A *b* #c# How are *b* and #c# related?", "other", ""),
]


def test_the_published_blocks(put: Callable[..., Path], tmp_path: Path) -> None:
    put("semeval2010_task8/TRAIN_FILE.TXT", FILE)
    put("semeval2010_task8/TEST_FILE_FULL.TXT", FILE)
    assert SEMEVAL2010_TASK8.load("train", tmp_path) == EXAMPLES
    assert SEMEVAL2010_TASK8.load("validation", tmp_path) == EXAMPLES


def test_the_hubs_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"sentence": "<e1>Heat</e1>, caused by <e2>fire</e2>.", "relation": 1}]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    assert SEMEVAL2010_TASK8.load("train", None) == EXAMPLES[1:2]


def test_answers_name_both_parts_in_the_order_of_the_nouns() -> None:
    answers = SEMEVAL2010_TASK8.answers
    assert len(answers) == len(LABELS) == 2 * len(RELATIONS) + 1 == 19
    assert answers["Product-Producer(e1,e2)"] == "product producer"
    assert answers["Product-Producer(e2,e1)"] == "producer product"
    assert answers["Other"] == "other"


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("The <e1>child</e1> in the cradle.", "one <e2>...</e2>, 0 are whole"),
        ("The <e1>child in the <e2>cradle</e2>.", "one <e1>...</e1>, 0 are whole"),
        ("The child</e1> in the <e2>cradle</e2>.", "one <e1>...</e1>, 0 are whole"),
        ("The <e1>child</e1> and <e1>child</e1> <e2>c</e2>.", "one <e1>...</e1>, 2 are whole"),
        ("The <e1>child</e1> and <e1> <e2>c</e2>.", "one <e1>...</e1>, 1 are whole"),
        ("The <e1></e1> in the <e2>cradle</e2>.", "one <e1>...</e1>, 0 are whole"),
    ],
)
def test_marks_that_are_missing_unclosed_or_double_are_named(
    sentence: str, said: str, put: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    path = put("semeval2010_task8/TRAIN_FILE.TXT", f'{FILE}\n24\t"{sentence}"\nOther\nComment:\n')
    assert refusal(SEMEVAL2010_TASK8) == f"{path}:12: field 'sentence' must have {said}"


def test_an_unknown_relation_a_stray_line_and_a_file_that_ends_early_are_named(
    put: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    path = put("semeval2010_task8/TRAIN_FILE.TXT", '1\t"<e1>a</e1> <e2>b</e2>"\nCause-Effect\n')
    assert refusal(SEMEVAL2010_TASK8).startswith(f"{path}:1: label 'Cause-Effect' is unknown")
    put("semeval2010_task8/TRAIN_FILE.TXT", f"{FILE}\nA sentence without a number\n")
    assert refusal(SEMEVAL2010_TASK8) == f"{path}:12: is no number, tab and sentence, and no comment"
    put("semeval2010_task8/TRAIN_FILE.TXT", f'{FILE}\n24\t"<e1>a</e1> <e2>b</e2>"')
    assert refusal(SEMEVAL2010_TASK8) == f"{path}:12: field 'relation' is missing, the file ends before it"


@pytest.mark.real_data
def test_the_official_files_have_all_sentences_and_the_keys_relations(real_data: Path) -> None:
    train, test = (SEMEVAL2010_TASK8.load(split, real_data) for split in ("train", "validation"))  # type: ignore[arg-type]
    assert (len(train), len(test)) == (8000, 2717)
    key = (real_data / "semeval2010_task8" / "TEST_FILE_KEY.TXT").read_text(encoding="utf-8").splitlines()
    labels = {answer: label.partition("(")[0] for label, answer in SEMEVAL2010_TASK8.answers.items()}
    assert [labels[example.target] for example in test] == [line.split("\t")[1] for line in key]
