"""Typed access to the fields of a row. What is missing or of another type is named with its place."""

from collections.abc import Sequence
from typing import Any, TypeVar

from vip_train.errors import UserError
from vip_train.tasks.reading import Row

Value = TypeVar("Value")

_KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


def field(place: str, row: Row, name: str, kind: type[Value]) -> Value:
    """The value of a field.

    Args:
        place: of the row, for the error.
        row: that has it.
        name: of the field.
        kind: str, int, list or dict. A boolean is no int.

    Raises:
        UserError: there is no such field, or it has another type.
    """
    if name not in row:
        raise UserError(f"{place}: field {name!r} is missing, found {', '.join(map(repr, row)) or 'none'}")
    return typed(place, f"field {name!r}", row[name], kind)


def typed(place: str, what: str, value: Any, kind: type[Value]) -> Value:
    """A value, if it has that type.

    Raises:
        UserError: it has another type.
    """
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{place}: {what} is {type(value).__name__}, {_KINDS[kind]} was expected")
    return value


def objects(place: str, row: Row, name: str) -> list[tuple[str, Row]]:
    """The objects of a list field, each with its place: the row's, the field and its number from 0.

    Raises:
        UserError: it is no list of objects.
    """
    found = field(place, row, name, list)
    return [
        (f"{place}{_joint(place)}{name}[{number}]", typed(place, f"{name}[{number}]", value, dict))
        for number, value in enumerate(found)
    ]


def strings(place: str, row: Row, name: str) -> list[str]:
    """The texts of a list field.

    Raises:
        UserError: it is no list of texts.
    """
    return [typed(place, f"{name}[{number}]", value, str) for number, value in enumerate(field(place, row, name, list))]


def marked(place: str, tokens: Sequence[str], *marks: tuple[int, int, str]) -> str:
    """Tokens joined by spaces, with marks around some.

    Args:
        place: of the row, for the error.
        tokens: of the sentence.
        marks: each the first token, the one after the last, and what is put before and behind.

    Raises:
        UserError: a position is outside the sentence.
    """
    found = list(tokens)
    for first, end, mark in marks:
        if not 0 <= first < end <= len(tokens):
            raise UserError(f"{place}: a span from word {first} to before {end} is outside the sentence of {len(tokens)} words")
        found[first] = mark + found[first]
        found[end - 1] += mark
    return " ".join(found)


def _joint(place: str) -> str:
    """A record inside a file stands behind a space, one inside a record behind a dot."""
    return "." if place.endswith("]") else " "
