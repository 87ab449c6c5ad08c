"""Words and sentence frames of a domain, as its file in `domains/` has them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from vip_train.tasks.task import Split
from vip_train.written import read_yaml

TRAINED = ("appointments", "home", "news", "recipes", "reviews", "tickets")
"""Domains with training frames."""
HELD_OUT = ("library", "travel")
"""Domains without."""

_SLOT = re.compile(r"{(\w+)}")
_PLACES: Mapping[Split, slice] = {"train": slice(0, 2), "validation": slice(2, 3), "test": slice(3, 4)}
"""Which of four questions or claims belong to a split."""


def slots(frame: str) -> set[str]:
    """The slots that a frame names."""
    return set(_SLOT.findall(frame))


class Words(NamedTuple):
    """What a slot may be filled with."""

    words: tuple[str, ...]
    kind: str
    """The type of entity that they are: PER, LOC, ORG, or none."""


class Thing(NamedTuple):
    """Something that a word praises in its domain, and another word blames."""

    name: str
    praise: str
    blame: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens in a domain, in several wordings."""

    frames: Mapping[Split, tuple[str, ...]]
    """Whole sentences, apart by split."""
    asks: Mapping[str, Mapping[Split, tuple[str, ...]]]
    """Questions, by the slot that answers them."""
    claims: Mapping[str, Mapping[Split, tuple[str, ...]]]
    """Short statements, by the slot that makes them true or false."""
    relations: Mapping[str, tuple[str, str]]
    """How two slots are related."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """All of one file."""

    name: str
    asked: str
    """The slot that the family `fields` wants here."""
    words: Mapping[str, Words]
    """By slot, those that all domains have among them."""
    things: tuple[Thing, ...]
    moods: Mapping[Split, tuple[str, ...]]
    """Sentences about a thing and the word for it."""
    events: tuple[Event, ...]


@cache
def domain(name: str) -> Domain:
    """The domain of that name."""
    found = _read(name)
    words = {slot: _words(given) for slot, given in (_read("shared") | found["words"]).items()}
    return Domain(
        name=name,
        asked=found["asked"],
        words=words,
        things=tuple(Thing(*given) for given in found["things"]),
        moods=_frames(found["moods"]),
        events=tuple(_event(given) for given in found["events"]),
    )


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read_yaml((files("vip_train") / "suite" / "domains" / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def _words(given: Mapping[str, Any]) -> Words:
    return Words(tuple(given["words"]), given.get("kind", ""))


def _frames(given: Mapping[Split, list[str]]) -> Mapping[Split, tuple[str, ...]]:
    return {split: tuple(given[split]) for split in _PLACES}


def _event(given: Mapping[str, Any]) -> Event:
    return Event(
        frames=_frames(given["frames"]),
        asks=_by_split(given["asks"]),
        claims=_by_split(given["claims"]),
        relations={name: (one, other) for name, (one, other) in given["relations"].items()},
    )


def _by_split(given: Mapping[str, list[str]]) -> Mapping[str, Mapping[Split, tuple[str, ...]]]:
    return {slot: {split: tuple(texts[place]) for split, place in _PLACES.items()} for slot, texts in given.items()}
