"""ReCoRD: a query becomes one example with all its right answers, from the published layout and the hub's."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from vip_train.tasks import Example
from vip_train.tasks.reading import read_jsonl
from vip_train.tasks.record import RECORD

TEXT = "Ada met Bo. Ada spoke\n@highlight\nAda and Bo talk\n@highlight\nBo: 'Yes!'"
PUBLISHED: dict[str, Any] = {
    "source": "CNN",
    "passage": {
        "text": TEXT,
        "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 9}, {"start": 12, "end": 14}],
    },
    "qas": [
        {
            "query": "@placeholder met Bo.",
            "idx": 5,
            "answers": [
                {"start": 0, "end": 2, "text": "Ada"},
                {"start": 12, "end": 14, "text": "Ada"},
                {"start": 0, "end": 2, "text": "ADA"},
            ],
        },
        {"query": "Ada met @placeholder.", "idx": 6, "answers": [{"start": 8, "end": 9, "text": "Bo"}]},
    ],
    "idx": 1,
}
REST = "entities: Ada, Bo passage: Ada met Bo. Ada spoke Ada and Bo talk. Bo: 'Yes!'"
EXAMPLES = [
    Example(f"query: @placeholder met Bo. {REST}", "Ada", "", references=("Ada", "ADA")),
    Example(f"query: Ada met @placeholder. {REST}", "Bo", "", references=("Bo",)),
]


def test_the_published_layout(put: Callable[..., Path], tmp_path: Path) -> None:
    put("ReCoRD/train.jsonl", [PUBLISHED])
    assert RECORD.load("train", tmp_path) == EXAMPLES


def test_a_blank_answer_is_no_target(put: Callable[..., Path], tmp_path: Path) -> None:
    row = copy.deepcopy(PUBLISHED)
    row["qas"][0]["answers"].insert(0, {"start": 0, "end": 0, "text": " "})
    put("ReCoRD/train.jsonl", [row])
    assert RECORD.load("train", tmp_path)[0] == EXAMPLES[0]._replace(references=(" ", "Ada", "ADA"))


def test_the_hubs_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"passage": TEXT, "query": query, "entities": ["Ada", "Bo"], "answers": answers, "idx": {"passage": 1, "query": 5}}
        for query, answers in (("@placeholder met Bo.", ["Ada", "ADA"]), ("Ada met @placeholder.", ["Bo"]))
    ]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    assert RECORD.load("train", None) == EXAMPLES


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 2), (0, len(TEXT))])
def test_a_name_outside_the_passage_is_refused(
    start: int, end: int, put: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    broken = copy.deepcopy(PUBLISHED)
    broken["passage"]["entities"][1] = {"start": start, "end": end}
    path = put("ReCoRD/train.jsonl", [broken])
    assert refusal(RECORD).startswith(f"{path}:1 entities[1]: fields 'start' and 'end' are {start} and {end}")


@pytest.mark.parametrize("answers", [[], [{"start": 0, "end": 0, "text": " "}]])
def test_a_query_without_an_answer_is_refused(
    answers: list[Any], put: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    broken = copy.deepcopy(PUBLISHED)
    broken["qas"][1]["answers"] = answers
    path = put("ReCoRD/train.jsonl", [broken])
    assert refusal(RECORD) == f"{path}:1 qas[1]: field 'answers' has no answer"


@pytest.mark.real_data
def test_the_official_sample_has_all_passages_and_queries(real_data: Path) -> None:
    for split, file in (("train", "train"), ("validation", "val")):
        passages = [row for _, row in read_jsonl(real_data / "superglue" / "ReCoRD" / f"{file}.jsonl")]
        examples = RECORD.load(split, real_data)  # type: ignore[arg-type]
        assert len(passages) == 32
        assert len(examples) == sum(len(passage["qas"]) for passage in passages)
        assert all(example.target in example.source for example in examples)
