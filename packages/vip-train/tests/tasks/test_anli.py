"""ANLI and MNLI: the published names of fields and labels, CB's wording, pairs without a label passed over."""

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from vip_train.tasks import Example, get_task

SOURCE = "premise: It rained. hypothesis: It was wet. true, false or neither?"


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("label", "answer"), [("e", "true"), ("n", "neither"), ("c", "false")])
def test_a_published_row(number: int, label: str, answer: str, put: Callable[..., Path], tmp_path: Path) -> None:
    row = {"uid": "x", "context": "It rained.", "hypothesis": "It was wet.", "label": label, "reason": "", "model_label": "n"}
    put(f"anli_v1.0/R{number}/dev.jsonl", [row])
    assert get_task(f"anli/r{number}").load("validation", tmp_path) == [Example(SOURCE, answer, "")]


def test_an_unknown_label_is_named(put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = put("anli_v1.0/R1/train.jsonl", [{"context": "a", "hypothesis": "b", "label": "x"}])
    assert refusal(get_task("anli/r1")).startswith(f"{path}:1: label 'x' is unknown, allowed are 'entailment'")


def test_the_hub_has_a_split_for_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load_dataset(*_: str, **options: str) -> list[dict[str, object]]:
        asked.append(options["split"])
        return [{"premise": "It rained.", "hypothesis": "It was wet.", "label": 1}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert get_task("anli/r2").load("train", None) == [Example(SOURCE, "neither", "")]
    assert get_task("mnli-mismatched").load("validation", None) == [Example(SOURCE, "neither", "")]
    assert asked == ["train_r2", "validation_mismatched"]
