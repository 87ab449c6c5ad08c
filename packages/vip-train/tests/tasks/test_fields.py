"""Fields by name and type; every error names the place and the field."""

from typing import Any

import pytest
from vip_train.errors import UserError
from vip_train.tasks.fields import field, marked, objects, strings

ROW: dict[str, Any] = {"text": "a", "count": 3, "yes": True, "list": [{"x": 1}, {"x": 2}], "words": ["a", "b"], "none": None}


def test_values_come_as_they_are() -> None:
    assert (field("p", ROW, "text", str), field("p", ROW, "count", int), strings("p", ROW, "words")) == ("a", 3, ["a", "b"])
    assert objects("f:3", ROW, "list") == [("f:3 list[0]", {"x": 1}), ("f:3 list[1]", {"x": 2})]
    assert objects("f:3 list[0]", ROW, "list")[1][0] == "f:3 list[0].list[1]"


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("gone", str, "p: field 'gone' is missing, found 'text', "),
        ("count", str, "p: field 'count' is int, text was expected"),
        ("yes", int, "p: field 'yes' is bool, a whole number was expected"),
        ("none", list, "p: field 'none' is NoneType, a list was expected"),
        ("words", dict, "p: field 'words' is list, an object was expected"),
    ],
)
def test_a_field_that_is_missing_or_of_another_type_is_named(name: str, kind: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        field("p", ROW, name, kind)
    assert str(caught.value).startswith(said)


def test_an_item_of_another_type_is_named_by_its_number() -> None:
    with pytest.raises(UserError, match=r"^p: words\[1\] is int, text was expected$"):
        strings("p", {"words": ["a", 1]}, "words")
    with pytest.raises(UserError, match=r"^p: list\[0\] is str, an object was expected$"):
        objects("p", {"list": ["a"]}, "list")
    with pytest.raises(UserError, match=r"^p: field 'a' is missing, found none$"):
        field("p", {}, "a", str)


def test_marks_stand_around_words() -> None:
    assert marked("p", ["a", "b", "c"], (0, 1, "*"), (1, 3, "#")) == "*a* #b c#"
    assert marked("p", ["a", "b"], (0, 2, "*"), (1, 2, "#")) == "*a #b*#"


@pytest.mark.parametrize("span", [(-1, 1), (1, 1), (2, 1), (0, 3), (5, 6)])
def test_a_span_outside_the_words_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"^p: a span from word -?\d to before \d is outside the sentence of 2 words$"):
        marked("p", ["a", "b"], (*span, "*"))
