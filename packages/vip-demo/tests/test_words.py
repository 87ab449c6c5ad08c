"""The sentences beside the picture."""

import pytest
import torch
from vip_core.config import Method
from vip_demo import Inspection
from vip_demo.words import summary

FOUND = Inspection(
    answer="red",
    probability={"red": 1.0},
    method="vip",
    how="argmax",
    codes=100,
    code_U=(5, 9),
    weight_PU=torch.eye(2),
    perplexity=2.0,
)


def test_tells_perplexity_codes_and_selection() -> None:
    said = summary(FOUND)
    assert "Code perplexity 2.0** of at most 100" in said
    assert "2 prompt tokens" in said
    assert "Codes in use: 2." in said
    assert "Selection: argmax" in said
    assert "free text" not in said


@pytest.mark.parametrize("method", ["pt", "vip-c"])
def test_tells_that_there_is_no_codebook(method: Method) -> None:
    found = FOUND._replace(method=method, codes=0, code_U=(), weight_PU=torch.zeros(2, 0), perplexity=0.0)
    assert summary(found).startswith("This adapter has no codebook to show")
    assert f"method {method}" in summary(found)


def test_tells_that_the_warm_up_had_not_ended() -> None:
    assert "warm-up had not ended" in summary(FOUND._replace(code_U=(), weight_PU=torch.zeros(2, 0), perplexity=0.0))


def test_tells_that_vip_q_does_not_follow_the_input() -> None:
    assert "every input selects alike" in summary(FOUND._replace(method="vip-q"))


def test_tells_that_a_free_answer_does_not_follow_the_selection() -> None:
    assert "free text" in summary(FOUND._replace(probability={}))
