"""What an inspection holds, for every method and selection, and which texts are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from vip_core import perplexity, rollout, usage
from vip_core.config import Evaluation
from vip_demo import Inspection
from vip_demo import inspect as inspect_all
from vip_demo.inspection import LEAST_SHARE, LONGEST_TEXT
from vip_train import TASKS, Adapter, Backbone, UserError, load_adapter, predict

TEXT = "The guest Anna arrives on Monday, takes the red room and brings a dog."
OTHER = "A fever: the sick pig of George, seen on Friday under a white cloth."


def inspect(adapter: Adapter, text: str, how: Evaluation = "expected", *, seed: int = 0) -> Inspection:
    (found,) = inspect_all(adapter, [text], how, seed=seed)
    return found


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


@pytest.mark.parametrize("how", get_args(Evaluation))
def test_a_text_is_seen_alike_alone_and_among_others(adapter: Adapter, how: Evaluation) -> None:
    together = inspect_all(adapter, [TEXT, OTHER, TEXT + " " + OTHER], how, seed=2)
    for found in together:
        alone = inspect(adapter, found.text, how, seed=2)
        assert (found.answer, found.code_U, found.words) == (alone.answer, alone.code_U, alone.words)
        for name in ("weight_PU", "attention_PW", "prompt_PD", "share_K"):
            torch.testing.assert_close(getattr(found, name), getattr(alone, name), rtol=1e-4, atol=1e-5)


def test_no_texts_are_no_inspections(adapter: Adapter) -> None:
    assert inspect_all(adapter, []) == []


def test_a_text_may_be_kept_from_codes(adapter: Adapter) -> None:
    whole = inspect(adapter, TEXT)
    allowed_NK = torch.ones(2, 60, dtype=torch.bool)
    allowed_NK[1, whole.code_U[0]] = False
    same, fewer = inspect_all(adapter, [TEXT, TEXT], allowed_NK=allowed_NK)
    assert same.code_U == whole.code_U
    assert whole.code_U[0] not in fewer.code_U
    assert float(fewer.share_K[whole.code_U[0]]) == 0.0


def test_attention_is_followed_from_tokens_to_the_words_they_are_in(adapter: Adapter) -> None:
    found = inspect(adapter, TEXT)
    assert found.words == tuple(TEXT.split())
    torch.testing.assert_close(found.attention_PW.sum(1), torch.ones(6))
    prompt, tokenizer = adapter.model.prompt, adapter.tokenizer
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    text_BSD = adapter.model.backbone.get_input_embeddings()(ids)
    assert prompt.contextualizer is not None
    read_SS = rollout(prompt.contextualizer.attention(prompt.prompt_PD, text_BSD, torch.ones_like(ids)))[0]
    words = TEXT.replace(",", " ,").replace(".", " .").split()  # as the tokenizer of the tests splits; </s> comes last
    own_PS = read_SS[:6, 6 : 6 + len(words)]
    expected_PW = torch.stack([own_PS[:, place] for place, word in enumerate(words) if word not in ",."], dim=1)
    for place, word in enumerate(words):
        if word in ",.":
            expected_PW[:, len([each for each in words[:place] if each not in ",."]) - 1] += own_PS[:, place]
    torch.testing.assert_close(found.attention_PW, expected_PW / expected_PW.sum(1, keepdim=True))


@pytest.mark.parametrize("method", ["pt", "vip-q"])
def test_a_prompt_that_does_not_look_at_the_text_has_no_words(
    make_adapter: Callable[..., Path], backbone: Backbone, method: str
) -> None:
    found = inspect(load_adapter(make_adapter(method), backbone=backbone), TEXT)
    assert (found.words, found.attention_PW.shape) == ((), (6, 0))


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
        ("a \ud800 b", "half of a character"),
        ("dog " * 64, "The text has 65 tokens, this adapter reads 64: shorten it."),
        ("x" * (LONGEST_TEXT + 1), "The text has 20,001 characters, at most 20,000 are read: shorten it."),
    ],
)
def test_refuses_what_it_would_not_read_whole(adapter: Adapter, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        inspect(adapter, text)


def test_takes_the_longest_text_the_adapter_reads(adapter: Adapter) -> None:
    assert inspect(adapter, "dog " * 63).answer
