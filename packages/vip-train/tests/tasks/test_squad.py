"""SQuAD: one example a question with all right answers, from the published document, plain or gzip, and from the hub."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from vip_train.tasks import Example
from vip_train.tasks.squad import SQUAD

ANSWERS = [{"answer_start": 3, "text": "Bo"}, {"answer_start": 3, "text": "Bo"}, {"answer_start": 0, "text": "On Bo"}]
PUBLISHED: dict[str, Any] = {
    "version": "1.1",
    "data": [
        {"title": "A", "paragraphs": []},
        {
            "title": "B",
            "paragraphs": [
                {
                    "context": "On Bo and the café.",
                    "qas": [
                        {"question": " Who? ", "id": "1", "answers": ANSWERS},
                        {"question": "Where?", "id": "2", "answers": [{"answer_start": 14, "text": "café"}]},
                    ],
                }
            ],
        },
    ],
}
EXAMPLES = [
    Example("question: Who? context: On Bo and the café.", "Bo", "", references=("Bo", "On Bo")),
    Example("question: Where? context: On Bo and the café.", "café", "", references=("café",)),
]


@pytest.mark.parametrize("name", ["train-v1.1.json", "train-v1.1.json.gz"])
def test_the_published_document(name: str, put: Callable[..., Path], tmp_path: Path) -> None:
    put(f"squad/{name}", PUBLISHED)
    assert SQUAD.load("train", tmp_path) == EXAMPLES


def test_a_blank_answer_is_no_target(put: Callable[..., Path], tmp_path: Path) -> None:
    document = copy.deepcopy(PUBLISHED)
    document["data"][1]["paragraphs"][0]["qas"][0]["answers"].insert(0, {"answer_start": 0, "text": " "})
    put("squad/train-v1.1.json", document)
    assert SQUAD.load("train", tmp_path)[0] == EXAMPLES[0]._replace(references=(" ", "Bo", "On Bo"))


def test_the_hubs_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"id": "1", "title": "B", "context": "On Bo and the café.", "question": question, "answers": {"text": answers}}
        for question, answers in ((" Who? ", ["Bo", "Bo", "On Bo"]), ("Where?", ["café"]))
    ]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    assert SQUAD.load("train", None) == EXAMPLES


@pytest.mark.parametrize("name", ["context", "qas"])
def test_what_a_paragraph_lacks_is_named(name: str, put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    broken = copy.deepcopy(PUBLISHED)
    del broken["data"][1]["paragraphs"][0][name]
    path = put("squad/train-v1.1.json", broken)
    assert refusal(SQUAD).startswith(f"{path} data[1].paragraphs[0]: field '{name}' is missing")


@pytest.mark.parametrize("answers", [[], [{"text": ""}]])
def test_a_question_without_an_answer_is_named(
    answers: list[Any], put: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    broken = copy.deepcopy(PUBLISHED)
    broken["data"][1]["paragraphs"][0]["qas"][1]["answers"] = answers
    path = put("squad/train-v1.1.json", broken)
    assert refusal(SQUAD) == f"{path} data[1].paragraphs[0].qas[1]: field 'answers' has no answer"


def test_a_document_that_is_no_object_is_named(put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = put("squad/train-v1.1.json", "[1]")
    assert refusal(SQUAD) == f"{path}: the document is list, an object was expected"


@pytest.mark.real_data
def test_the_official_files_have_all_questions(real_data: Path) -> None:
    assert [len(SQUAD.load(split, real_data)) for split in ("train", "validation")] == [87433, 10570]  # type: ignore[arg-type]
