"""What the page shows, without a browser: answers, examples and errors. The page itself is tested in test_page.py."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import gradio as gr
import pytest
from vip_demo.adapters import Shelf
from vip_demo.app import look, start

TEXT = "The guest Anna arrives on Monday, takes the red room and brings a dog."


@pytest.fixture
def shelf(vip: Path, make_adapter: Callable[..., Path], tmp_path: Path) -> Shelf:
    (tmp_path / "<b>").mkdir()
    return Shelf(
        {
            "vip": vip,
            "pt": make_adapter("pt"),
            "cb": make_adapter(task="superglue/cb", answers=("true", "false", "neither")),
            "own": make_adapter(task="", answers=()),
            "broken": tmp_path / "<b>",
        }
    )


def test_a_look_fills_every_part_of_the_page(shelf: Shelf) -> None:
    shown = look(shelf, "vip", TEXT, "expected", 0)
    assert shown.probability is not None
    assert shown.answer in shown.probability
    assert "Code perplexity" in shown.summary
    assert shown.picture is not None


def test_a_look_without_a_codebook_has_no_picture(shelf: Shelf) -> None:
    shown = look(shelf, "pt", TEXT, "expected", 0)
    assert shown.answer
    assert "no codebook" in shown.summary
    assert shown.picture is None


def test_a_free_answer_has_no_bars(shelf: Shelf) -> None:
    assert look(shelf, "own", TEXT, "expected", 0).probability is None


def test_what_is_wrong_is_said_and_its_markup_shown(shelf: Shelf) -> None:
    with pytest.raises(gr.Error, match="no text yet"):
        look(shelf, "vip", "", "expected", 0)
    with pytest.raises(gr.Error, match=r"&lt;b&gt;/adapter_config\.json: no such file"):
        look(shelf, "broken", TEXT, "expected", 0)
    with pytest.raises(gr.Error, match=r"&lt;b&gt;/adapter_config\.json: no such file"):
        start(shelf, "broken")


def test_a_built_in_task_comes_with_examples(shelf: Shelf) -> None:
    offered = start(shelf, "vip")
    assert offered.text == offered.examples[0].source
    assert len({example.group for example in offered.examples}) == len(offered.examples) == 4
    assert all(example.target in example.source for example in offered.examples)
    assert all(example.target != following.target for example, following in pairwise(offered.examples))


def test_other_tasks_come_with_their_wording(shelf: Shelf) -> None:
    offered = start(shelf, "cb")
    assert (offered.text, offered.examples) == ("", [])
    assert "premise: {premise} hypothesis: {hypothesis}" in offered.hint
    assert start(shelf, "own").examples == []
