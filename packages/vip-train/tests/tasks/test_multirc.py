"""MultiRC: an example for each answer, grouped by question, from the nested file and from the hub's flat rows."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from vip_train.tasks import Example
from vip_train.tasks.multirc import MULTIRC

PUBLISHED: dict[str, Any] = {
    "idx": 7,
    "version": 1.1,
    "passage": {
        "text": "It rained. The street was wet.",
        "questions": [
            {
                "question": "What was wet?",
                "idx": 12,
                "answers": [
                    {"text": "The street", "idx": 40, "label": 1},
                    {"text": "The sun", "idx": 41, "label": 0},
                ],
            },
            {"question": "Why?", "idx": 13, "answers": [{"text": "Rain", "idx": 42, "label": 1}]},
        ],
    },
}
PARAGRAPH = "paragraph: It rained. The street was wet."
EXAMPLES = [
    Example(f"question: What was wet? answer: The street {PARAGRAPH}", "true", "", question="7-12"),
    Example(f"question: What was wet? answer: The sun {PARAGRAPH}", "false", "", question="7-12"),
    Example(f"question: Why? answer: Rain {PARAGRAPH}", "true", "", question="7-13"),
]


def test_the_published_layout(put: Callable[..., Path], tmp_path: Path) -> None:
    put("MultiRC/val.jsonl", [PUBLISHED])
    assert MULTIRC.load("validation", tmp_path) == EXAMPLES


def test_the_hubs_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PUBLISHED["passage"]["text"]
    rows = [
        {
            "paragraph": text,
            "question": asked,
            "answer": answer,
            "idx": {"paragraph": 7, "question": idx, "answer": 1},
            "label": label,
        }
        for asked, idx, answer, label in (
            ("What was wet?", 12, "The street", 1),
            ("What was wet?", 12, "The sun", 0),
            ("Why?", 13, "Rain", 1),
        )
    ]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    assert MULTIRC.load("validation", None) == EXAMPLES


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("passage",), ":2: field 'passage' is missing"),
        (("passage", "text"), ":2: field 'text' is missing"),
        (("passage", "questions"), ":2: field 'questions' is missing"),
        (("passage", "questions", 1, "idx"), ":2 questions[1]: field 'idx' is missing"),
        (("passage", "questions", 0, "answers", 1, "label"), ":2 questions[0].answers[1]: field 'label' is missing"),
        (("passage", "questions", 0, "answers", 0, "text"), ":2 questions[0].answers[0]: field 'text' is missing"),
    ],
)
def test_what_is_missing_is_named_by_its_place(
    path: tuple[Any, ...], said: str, put: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    broken = copy.deepcopy(PUBLISHED)
    inner: Any = broken
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    file = put("MultiRC/train.jsonl", [PUBLISHED, broken])
    assert refusal(MULTIRC).startswith(f"{file}{said}")


def test_a_label_beyond_0_and_1_is_refused(put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    broken = copy.deepcopy(PUBLISHED)
    broken["passage"]["questions"][0]["answers"][0]["label"] = 2
    file = put("MultiRC/train.jsonl", [broken])
    assert refusal(MULTIRC) == f"{file}:1 questions[0].answers[0]: label '2' is unknown, allowed are '0', '1'"


@pytest.mark.real_data
def test_the_official_files_have_all_paragraphs_questions_and_answers(real_data: Path) -> None:
    found = {}
    for split in ("train", "validation"):
        examples = MULTIRC.load(split, real_data)  # type: ignore[arg-type]
        questions = {example.question for example in examples}
        found[split] = len({name.partition("-")[0] for name in questions}), len(questions), len(examples)
    assert found == {"train": (456, 5131, 27243), "validation": (83, 953, 4848)}
