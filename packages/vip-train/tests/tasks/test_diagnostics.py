"""AX-b and AX-g: rows of RTE's wording, evaluated only."""

from collections.abc import Callable
from pathlib import Path

import pytest
from vip_train.tasks import Example
from vip_train.tasks.diagnostics import AX_B, AX_G

SOURCE = "premise: It rained. hypothesis: It was wet. true or false?"


def test_both_layouts_become_the_same_text(put: Callable[..., Path], tmp_path: Path) -> None:
    put("AX-b/AX-b.jsonl", [{"sentence1": "It rained.", "sentence2": "It was wet.", "label": "entailment", "logic": "x"}])
    put("AX-g/AX-g.jsonl", [{"premise": "It rained.", "hypothesis": "It was wet.", "label": "not_entailment", "idx": 1}])
    assert AX_B.load("validation", tmp_path) == [Example(SOURCE, "true", "")]
    assert AX_G.load("validation", tmp_path) == [Example(SOURCE, "false", "")]


def test_they_cannot_be_trained_on(refusal: Callable[..., str]) -> None:
    assert refusal(AX_B) == "superglue/ax-b: has no train split, an adapter can only be evaluated on it"


@pytest.mark.real_data
def test_the_official_files_have_all_rows(real_data: Path) -> None:
    """AX-g has 355 line ends, and a last row without one."""
    assert [len(task.load("validation", real_data)) for task in (AX_B, AX_G)] == [1104, 356]
