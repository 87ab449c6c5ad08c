"""The sentences of the page, and that nothing a visitor typed is obeyed."""

from collections.abc import Callable

import pytest
import torch
from vip_core.config import Method
from vip_demo import Inspection, words
from vip_demo.comparison import compare
from vip_demo.effects import Effect
from vip_demo.survey import Survey, Use

MARKUP = "<b>*bold*</b> [x](y) `z`"


@pytest.fixture
def found(make_inspection: Callable[..., Inspection]) -> Inspection:
    weight_PK = torch.zeros(2, 100)
    weight_PK[0, 5] = weight_PK[1, 9] = 1.0
    return make_inspection(weight_PK, how="argmax")


def without_codes(found: Inspection, method: Method = "vip", codes: int = 100) -> Inspection:
    return found._replace(method=method, codes=codes, code_U=(), weight_PU=torch.zeros(2, 0), perplexity=0.0)


def test_tells_perplexity_codes_and_selection(found: Inspection) -> None:
    said = words.summary(found)
    assert "Code perplexity 2.0** of at most 100" in said
    assert "2 prompt tokens" in said
    assert "Codes in use: 2." in said
    assert "Selection: argmax" in said


@pytest.mark.parametrize("method", ["pt", "vip-c"])
def test_tells_that_there_is_no_codebook(found: Inspection, method: Method) -> None:
    said = words.summary(without_codes(found, method, codes=0))
    assert said.startswith("This adapter has no codebook to show")
    assert f"method {method}" in said


def test_tells_that_the_warm_up_had_not_ended(found: Inspection) -> None:
    assert "warm-up had not ended" in words.summary(without_codes(found))


def test_tells_that_vip_q_does_not_follow_the_input(found: Inspection) -> None:
    assert "every input selects alike" in words.summary(found._replace(method="vip-q"))


def test_words_are_marked_by_how_much_is_read_of_them(found: Inspection) -> None:
    marked = words.attention(found)
    assert 'style="--much:0.333" title="25.0%">red</span>' in marked
    assert 'style="--much:1.000" title="75.0%">dog</span>' in marked
    assert "Read most: dog (75%), red (25%)." in marked
    one = found._replace(attention_PW=torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert 'title="100.0%">red' in words.attention(one, 1)


def test_words_are_text_whatever_they_hold(found: Inspection) -> None:
    marked = words.attention(found._replace(words=("<img", "src=x>\x00\u202e")))
    assert "<img" not in marked
    assert "&lt;img" in marked
    assert "src=x&gt;\u2400\u27e8U+202E\u27e9" in marked


def test_a_prompt_that_does_not_look_says_so(found: Inspection) -> None:
    assert "does not look at the text" in words.attention(found._replace(words=(), attention_PW=torch.zeros(2, 0)))


@pytest.mark.parametrize("text", [MARKUP, "\x1b[31m", "a\u200bb", "$x$ ~y~ 1. - # |"])
def test_no_sign_of_markdown_or_html_survives(text: str) -> None:
    assert not set(words.plain(text)) & set("<>*[]`$~|\x1b\u200b-")


def test_lines_and_ordinary_letters_stay_as_they_are() -> None:
    assert words.visible("Käse\n\tλ 语 🙂") == "Käse\n\tλ 语 🙂"


def test_compares_answers_codes_and_prompts(found: Inspection, make_inspection: Callable[..., Inspection]) -> None:
    weight_PK = torch.zeros(2, 100)
    weight_PK[0, 5] = weight_PK[1, 7] = 1.0
    other = make_inspection(weight_PK, how="argmax", answer=MARKUP, prompt_PD=2 * torch.ones(2, 4))
    said = words.comparison(found, other, compare(found, other))
    assert "The first is answered <code>red</code>" in said
    assert "<b>" not in said
    assert "Distance of the codes 0.50**" in said
    assert "Distance of the prompts 1.00**" in said
    assert "both take 5; only the first 9; only the second 7." in said
    assert "Of 2 prompt tokens 1 have another likeliest code" in said


def test_a_fixed_prompt_is_said_to_be_the_same(found: Inspection) -> None:
    pt = without_codes(found, "pt", 0)._replace(share_K=torch.zeros(0))
    said = words.comparison(pt, pt, compare(pt, pt))
    assert "Both are answered alike" in said
    assert "The prompt is the same for both." in said
    assert "method pt" in said


def test_tells_what_became_of_the_answer(found: Inspection) -> None:
    after = found._replace(answer="blue", probability={"red": 0.25, "blue": 0.75})
    said = words.effect(found, Effect((5,), after, {"red": -0.5, "blue": 0.5}, 0.5), "Without code 5")
    assert said.startswith("Without code 5: **50.0% of the probability moves**, most of all <code>red</code> by -50.0%.")
    assert "changes from <code>red</code> to <code>blue</code>" in said
    free = found._replace(probability={})
    assert words.effect(free, Effect((5,), free, {}, 0.0), "x") == "x: The answer stays <code>red</code>."


@pytest.mark.parametrize(("share", "text"), [(0.5, "50.0%"), (0.01, "1.0%"), (0.0001234, "0.012%"), (0.0, "0.000%")])
def test_small_shares_have_more_digits(share: float, text: str) -> None:
    assert words.percent(share) == text


def test_a_dead_code_is_said_to_be_dead() -> None:
    survey = Survey((), (), torch.zeros(0, 4), torch.tensor([1.0, 0.0, 0.0, 0.0]), None, ())  # type: ignore[arg-type]
    assert words.code(survey, Use(2, 0.0, {}, {}), []).startswith("**Code 2 is dead**: it has less than 0.01%")
