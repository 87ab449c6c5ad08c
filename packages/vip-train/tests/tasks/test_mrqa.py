"""MRQA: a header, then paragraphs with questions; one subset of the hub's table; sets out of domain have no training split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from vip_train.tasks import Example, get_task

HEADER = {"header": {"dataset": "NewsQA", "split": "train"}}
PARAGRAPH: dict[str, Any] = {
    "id": "",
    "context": "[PAR] Ada met Bo.",
    "qas": [
        {
            "qid": "a",
            "question": "Who was met?",
            "answers": ["Mr Bo", "Bo"],
            "detected_answers": [{"text": "Bo", "char_spans": [[14, 15]], "token_spans": [[3, 3]]}],
        }
    ],
}
EXAMPLE = Example("question: Who was met? context: [PAR] Ada met Bo.", "Bo", "", references=("Mr Bo", "Bo"))
NEWSQA, DUORC = get_task("mrqa/newsqa"), get_task("mrqa/duorc")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_published_layout(ending: str, put: Callable[..., Path], tmp_path: Path) -> None:
    put(f"mrqa/train/NewsQA.jsonl{ending}", [HEADER, PARAGRAPH, PARAGRAPH])
    put(f"mrqa/dev/NewsQA.jsonl{ending}", [HEADER, PARAGRAPH])
    assert NEWSQA.load("train", tmp_path) == [EXAMPLE, EXAMPLE]
    assert NEWSQA.load("validation", tmp_path) == [EXAMPLE]


def test_a_set_out_of_domain_is_evaluated_only(put: Callable[..., Path], refusal: Callable[..., str], tmp_path: Path) -> None:
    put("mrqa/dev/DuoRC.ParaphraseRC.jsonl.gz", [HEADER, PARAGRAPH])
    assert DUORC.load("validation", tmp_path) == [EXAMPLE]
    assert refusal(DUORC) == "mrqa/duorc: has no train split, an adapter can only be evaluated on it"


@pytest.mark.parametrize(("name", "subset", "split"), [("newsqa", "NewsQA", "validation"), ("race", "RACE", "test")])
def test_the_hubs_table_holds_all_sets(name: str, subset: str, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    question = PARAGRAPH["qas"][0]
    row = {"context": PARAGRAPH["context"], **question, "detected_answers": {"text": ["Bo"]}}
    table = datasets.Dataset.from_list([{**row, "subset": "Other"}, {**row, "subset": subset}])
    asked: list[Any] = []

    def load_dataset(*names: str, **options: str) -> datasets.Dataset:
        asked.append((names, options["split"]))
        return table

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert get_task(f"mrqa/{name}").load("validation", None) == [EXAMPLE]
    assert asked == [(("mrqa-workshop/mrqa", "plain_text"), split)]


def test_a_question_nothing_answers_is_named(put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    broken = {**PARAGRAPH, "qas": [{**PARAGRAPH["qas"][0], "answers": [], "detected_answers": []}]}
    path = put("mrqa/train/NewsQA.jsonl", [HEADER, PARAGRAPH, broken])
    assert refusal(NEWSQA) == f"{path}:3 qas[0]: field 'answers' has no answer"
