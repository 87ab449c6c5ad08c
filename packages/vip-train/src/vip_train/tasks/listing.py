"""Entities as text: "person: Peter Blackburn; location: Brussels", or "none". Written from tags, and read back into tags.

Tags are IOB2: B-PER begins an entity, I-PER goes on with it, O is outside of any.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

TYPES = {"PER": "person", "ORG": "organization", "LOC": "location", "MISC": "miscellaneous"}
"""The word for each type of entity."""
NOTHING = "none"

_CODES = {word: code for code, word in TYPES.items()}
_ITEM = re.compile(rf"({'|'.join(_CODES)}): ")
_BETWEEN = re.compile(rf"; (?=(?:{'|'.join(_CODES)}): )")


class Entity(NamedTuple):
    """A name as text."""

    kind: str
    """One of `TYPES`."""
    text: str


class Placement(NamedTuple):
    """Entities put at their places in a sentence."""

    tags: list[str]
    """IOB2, one for each token."""
    missing: list[Entity]
    """Those that the sentence does not have, or not that often."""


def to_iob2(tags: Sequence[str]) -> list[str]:
    """The same entities with B at the beginning of each. IOB1 has B only where an entity follows one of its own type."""
    found = []
    for before, tag in zip(["O", *tags], tags, strict=False):
        begins = tag.startswith("I-") and before[2:] != tag[2:]
        found.append(f"B{tag[1:]}" if begins else tag)
    return found


def write_listing(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """The entities of a sentence as text, in order.

    Args:
        tokens: of the sentence.
        tags: IOB2, as many.
    """
    entities: list[Entity] = []
    for token, tag in zip(tokens, tags, strict=True):
        if tag.startswith("B-"):
            entities.append(Entity(tag[2:], token))
        elif tag != "O":
            entities[-1] = entities[-1]._replace(text=f"{entities[-1].text} {token}")
    return "; ".join(f"{TYPES[entity.kind]}: {entity.text}" for entity in entities) or NOTHING


def read_listing(text: str) -> list[Entity] | None:
    """The entities of such a text; None if it is none: without a known type at the start of it, or with a name that is empty.

    A name may hold a semicolon or a colon: only a semicolon and a known type end it.
    """
    text = text.strip()
    if text == NOTHING:
        return []
    found = []
    for part in _BETWEEN.split(text):
        begun = _ITEM.match(part)
        if begun is None or not part[begun.end() :].strip():
            return None
        found.append(Entity(_CODES[begun[1]], part[begun.end() :].strip()))
    return found


def place_entities(entities: Sequence[Entity], tokens: Sequence[str]) -> Placement:
    """Puts each entity at the first free place behind the one before where the tokens read like it; else at the first of all.

    White space does not count, because a tokenizer may write "Smith 's" as "Smith's". A sentence that names something twice
    and tags only the later one is the one case in which a right list comes back as other tags.

    Args:
        entities: in the order of the list.
        tokens: of the sentence.
    """
    tags = ["O"] * len(tokens)
    missing = []
    behind = 0
    for entity in entities:
        spans = [span for first in range(len(tokens)) if (span := _span(entity.text, tokens, tags, first)) is not None]
        span = next((span for span in spans if span.start >= behind), spans[0] if spans else None)
        if span is None:
            missing.append(entity)
            continue
        behind = span.stop
        for at in span:
            tags[at] = f"{'B' if at == span.start else 'I'}-{entity.kind}"
    return Placement(tags, missing)


def _span(text: str, tokens: Sequence[str], tags: Sequence[str], first: int) -> range | None:
    """The free tokens from the first on that read like the text."""
    wanted, read = "".join(text.split()), ""
    for at in range(first, len(tokens)):
        read += tokens[at]
        if tags[at] != "O" or not wanted.startswith(read):
            return None
        if read == wanted:
            return range(first, at + 1)
    return None
