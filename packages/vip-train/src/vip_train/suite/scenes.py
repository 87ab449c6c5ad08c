"""Sentences: frames with their choices made and their slots filled."""

import random
import re
from collections.abc import Mapping
from typing import NamedTuple

from vip_train.suite.domains import Domain, Event, slots
from vip_train.tasks.task import Split

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


_ARTICLE = re.compile(r"\b([Aa])(?= [*#]?[aeiou](?!se|ni))")
"""One that should be "an": before a vowel, but not before "useful" and "union"."""


class Scene(NamedTuple):
    """One sentence and what is in it."""

    domain: Domain
    event: Event
    values: Mapping[str, str]
    """By slot, for every slot of the domain; the sentence names some of them."""
    frame: str
    """With its slots still open."""

    @property
    def sentence(self) -> str:
        """As it is read."""
        return self.fill(self.frame)

    @property
    def named(self) -> set[str]:
        """The slots that the sentence names."""
        return slots(self.frame)

    def fill(self, text: str) -> str:
        """A text with the values of this scene in its slots, beginning with a capital."""
        return polished(text.format(**self.values))


def polished(text: str) -> str:
    """A sentence with its articles right and a capital at the front."""
    text = _ARTICLE.sub(r"\1n", text)
    return text[:1].upper() + text[1:]


def choose(frame: str, rng: random.Random) -> str:
    """A frame with one of each [a|b|] taken."""
    return _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), frame)


def scenes(domain: Domain, split: Split, count: int, rng: random.Random) -> list[Scene]:
    """Some scenes of a domain in which no value comes twice, so that each can be told by any of its values."""
    drawn = {slot: rng.sample(given.words, min(count, len(given.words))) for slot, given in domain.words.items()}
    found = []
    for number in range(count):
        event = rng.choice(domain.events)
        values = {slot: words[number % len(words)] for slot, words in drawn.items()}
        found.append(Scene(domain, event, values, choose(rng.choice(event.frames[split]), rng)))
    return found
