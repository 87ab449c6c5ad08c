"""What an inspection holds, for every method and selection, and which texts are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from vip_core import perplexity, usage
from vip_core.config import Evaluation
from vip_demo import inspect
from vip_demo.inspection import LEAST_SHARE, LONGEST_TEXT
from vip_train import TASKS, Adapter, Backbone, UserError, load_adapter, predict

TEXT = "The guest Anna arrives on Monday, takes the red room and brings a dog."
OTHER = "A fever: the sick pig of George, seen on Friday under a white cloth."


@pytest.mark.parametrize("how", get_args(Evaluation))
def test_answer_and_probabilities_belong_to_the_task(adapter: Adapter, how: Evaluation) -> None:
    found = inspect(adapter, TEXT, how)
    assert list(found.probability) == list(TASKS["notes"].answers.values())
    assert sum(found.probability.values()) == pytest.approx(1.0)
    assert found.probability[found.answer] == max(found.probability.values())
    assert (found.method, found.how, found.codes) == ("vip", how, 60)


@pytest.mark.parametrize("how", get_args(Evaluation))
def test_codes_in_use_come_by_falling_weight(adapter: Adapter, how: Evaluation) -> None:
    found = inspect(adapter, TEXT, how)
    assert found.weight_PU.shape == (6, len(found.code_U))
    assert len(set(found.code_U)) == len(found.code_U)
    total_U = found.weight_PU.sum(0)
    assert torch.equal(total_U, total_U.sort(descending=True).values)
    assert (total_U >= LEAST_SHARE * 6).all()
    torch.testing.assert_close(found.weight_PU.sum(1), torch.ones(6), atol=60 * 6 * LEAST_SHARE, rtol=0)


def test_agrees_with_predict(adapter: Adapter) -> None:
    found = inspect(adapter, TEXT, "expected")
    expected = next(predict(adapter, [TEXT], how="expected"))
    assert found.answer == expected.answer
    assert found.probability == expected.probability
    torch.testing.assert_close(found.weight_PU, expected.weight_PK[:, list(found.code_U)])
    assert found.perplexity == pytest.approx(float(perplexity(usage(expected.weight_PK[None]))))


def test_argmax_takes_one_code_per_token(adapter: Adapter) -> None:
    found = inspect(adapter, TEXT, "argmax")
    assert found.weight_PU.unique().tolist() == [0.0, 1.0]
    assert len(found.code_U) <= 6
    assert 1 <= found.perplexity <= 6.001, "six alike, up to rounding"


def test_sampling_follows_the_seed_alone(adapter: Adapter) -> None:
    first = inspect(adapter, TEXT, "sample", seed=3)
    torch.rand(5)
    again = inspect(adapter, TEXT, "sample", seed=3)
    other = inspect(adapter, TEXT, "sample", seed=4)
    assert first.code_U == again.code_U
    assert torch.equal(first.weight_PU, again.weight_PU)
    assert first.code_U != other.code_U


def test_leaves_the_callers_random_numbers_alone(adapter: Adapter) -> None:
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    inspect(adapter, TEXT, "sample")
    assert torch.equal(torch.rand(4), expected)


def test_another_text_selects_otherwise(adapter: Adapter) -> None:
    first, other = inspect(adapter, TEXT), inspect(adapter, OTHER)
    assert sorted(first.weight_PU.sum(0).tolist()) != pytest.approx(sorted(other.weight_PU.sum(0).tolist()))


@pytest.mark.parametrize("method", ["pt", "vip-c"])
def test_without_a_codebook_there_is_an_answer_and_no_code(
    make_adapter: Callable[..., Path], backbone: Backbone, method: str
) -> None:
    found = inspect(load_adapter(make_adapter(method), backbone=backbone), TEXT)
    assert found.answer in found.probability
    assert (found.method, found.codes, found.code_U, found.perplexity) == (method, 0, (), 0.0)
    assert found.weight_PU.shape == (6, 0)


def test_no_code_is_in_use_before_the_warm_up_ends(make_adapter: Callable[..., Path], backbone: Backbone) -> None:
    found = inspect(load_adapter(make_adapter(warmup_steps=5), backbone=backbone), TEXT)
    assert (found.codes, found.code_U, found.perplexity) == (60, (), 0.0)


def test_a_free_answer_has_no_probabilities(make_adapter: Callable[..., Path], backbone: Backbone) -> None:
    found = inspect(load_adapter(make_adapter(task="", answers=()), backbone=backbone), TEXT)
    assert found.probability == {}
    assert isinstance(found.answer, str)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no text yet"),
        (" \n\t", "There is no text yet"),
        ("dog " * 64, "The text has 65 tokens, this adapter reads 64: shorten it."),
        ("x" * (LONGEST_TEXT + 1), "The text has 20,001 characters, at most 20,000 are read: shorten it."),
    ],
)
def test_refuses_what_it_would_not_read_whole(adapter: Adapter, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        inspect(adapter, text)


def test_takes_the_longest_text_the_adapter_reads(adapter: Adapter) -> None:
    assert inspect(adapter, "dog " * 63).answer
