"""What the tabs share."""

import gradio as gr
import pytest
from vip_demo.views.controls import asked, number, said, told
from vip_train import UserError


def test_a_sentence_is_shown_as_text_on_the_page_and_as_it_is_by_the_api() -> None:
    def broken() -> None:
        raise UserError("<b> is 'no' adapter")

    with pytest.raises(gr.Error) as caught:
        said(broken)()
    assert caught.value.message == "&lt;b&gt; is &#x27;no&#x27; adapter"
    with pytest.raises(gr.Error) as caught:
        told(broken)()
    assert caught.value.message == "<b> is 'no' adapter"


def test_what_nobody_foresaw_is_no_sentence_of_its_own() -> None:
    def broken() -> None:
        raise KeyError("secret")

    with pytest.raises(gr.Error) as caught:
        said(broken)()
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(("chosen", "expected"), [(3, 3), ("3", 3), ("3 (14.7%)", 3), (-1, -1)])
def test_a_choice_is_a_number(chosen: object, expected: int) -> None:
    assert number(chosen, "code") == expected


@pytest.mark.parametrize("chosen", ["", "three", None, [], "x" * 100])
def test_what_is_no_choice_is_a_sentence(chosen: object) -> None:
    with pytest.raises(UserError, match="is no code: choose one of the list"):
        number(chosen, "code")


def test_no_seed_is_the_first_seed() -> None:
    assert asked("a", "text", "sample", None).seed == 0
    assert asked("a", "text", "sample", 7.0).seed == 7
