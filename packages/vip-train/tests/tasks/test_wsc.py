"""WSC: both spans are marked, also where the published position misses its words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from vip_train.tasks import Example
from vip_train.tasks.wsc import WSC

TEXT = "Mark told Ann  about Mark Twain. He laughed at it, it seems."
SOURCE = "Mark told Ann about *Mark Twain.* #He# laughed at it, it seems. Is #He# *Mark Twain*?"


def row(first: int, one: str, second: int, other: str, label: Any = False) -> dict[str, Any]:
    target = {"span1_index": first, "span1_text": one, "span2_index": second, "span2_text": other}
    return {"text": TEXT, "target": target, "idx": 0, "label": label}


def test_a_row_becomes_text(put: Callable[..., Path], tmp_path: Path) -> None:
    put("WSC/train.jsonl", [row(4, "Mark Twain", 6, "He"), row(4, "Mark Twain", 6, "He", label=True)])
    assert WSC.load("train", tmp_path) == [Example(SOURCE, "no", ""), Example(SOURCE, "yes", "")]


def test_the_hub_has_the_spans_beside_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    published = row(4, "Mark Twain", 6, "He")
    flat = {"text": TEXT, **published["target"], "idx": 0, "label": 0}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: [flat])
    assert WSC.load("train", None) == [Example(SOURCE, "no", "")]


def test_a_position_beside_the_words_moves_to_the_nearest(put: Callable[..., Path], tmp_path: Path) -> None:
    put("WSC/train.jsonl", [row(3, "Mark Twain", 8, "it"), row(0, "Mark", 10, "it")])
    first, second = (example.source for example in WSC.load("train", tmp_path))
    assert "about *Mark Twain.* He laughed at #it,# it seems." in first
    assert second.startswith("*Mark* told Ann about Mark Twain. He laughed at it, #it# seems.")


def test_a_span_that_the_text_lacks_is_named(put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = put("WSC/train.jsonl", [row(0, "Mark", 6, "She")])
    assert refusal(WSC) == f"{path}:1: field 'span2_text' is 'She', which is not in the text"


@pytest.mark.real_data
def test_the_official_files_have_all_rows(real_data: Path) -> None:
    assert [len(WSC.load(split, real_data)) for split in ("train", "validation")] == [554, 104]  # type: ignore[arg-type]
