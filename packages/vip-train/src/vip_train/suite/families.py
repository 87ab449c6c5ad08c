"""The families of tasks: how a scene or a remark becomes a row.

    mood       is a remark good or bad news?             a long battery life is, a long queue is not
    nli        does a sentence say, deny or leave open?  three labels
    qa         which words of a passage answer?          free text, several sentences about different people
    ner        which names does a sentence have?         a listing
    relations  how are two marked words related?         eight labels
    forms      mood, but nothing says which pair of words to answer with: it depends on the domain
    fields     one field of a sentence, but nothing says which: it depends on the domain

For the last two a fixed prompt cannot say what is asked. Frames, questions and claims of a split occur in no other.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vip_train.suite import VERSION
from vip_train.suite.domains import Domain, domain, slots
from vip_train.suite.scenes import choose, polished, scenes
from vip_train.tasks.reading import Row
from vip_train.tasks.task import Split

RELATIONS = ("amount", "holder", "maker", "part", "place", "recipient", "sign", "time")

_ROWS: dict[Split, int] = {"train": 3000, "validation": 600, "test": 1200}
_PRAISE = ("excellent", "wonderful", "perfect", "lovely", "pleasant", "splendid")
_BLAME = ("awful", "terrible", "poor", "nasty", "useless", "dreadful")
_STATEMENTS = ("appointments", "home", "news")
"""Domains in which `forms` wants true or false; elsewhere it wants yes or no."""
_TOKEN = re.compile(r"(?:Mr|Mrs|Dr|Ltd)\.|\w+(?:'\w*)?|[^\w\s]")
_TRIES = 200
"""Draws after which a domain is said to have no fitting scene."""

Make = Callable[[Domain, Split, int, random.Random], dict[str, Any] | None]
"""A row of a domain, given its number; None if what was drawn does not do."""


def generate(family: str, domains: Sequence[str], split: Split) -> Iterator[Row]:
    """The rows of a family, as many of each domain; the same every time."""
    rng = random.Random(f"suite {VERSION} {family} {' '.join(domains)} {split}")
    for number in range(_ROWS[split]):
        one = domain(domains[number % len(domains)])
        row = next(filter(None, (FAMILIES[family](one, split, number // len(domains), rng) for _ in range(_TRIES))))
        yield {**row, "domain": one.name}


def _mood(one: Domain, split: Split, number: int, rng: random.Random) -> dict[str, Any]:
    label = ("good", "bad")[number % 2]
    thing = one.things[number // 2 % len(one.things)]
    plain = rng.choice(_PRAISE if label == "good" else _BLAME)
    word = rng.choice((plain, thing.praise if label == "good" else thing.blame))
    remark = choose(rng.choice(one.moods[split]), rng).format(thing=thing.name, word=word)
    return {"text": polished(remark), "label": label}


def _forms(one: Domain, split: Split, number: int, rng: random.Random) -> dict[str, Any]:
    row = _mood(one, split, number, rng)
    return {**row, "label": f"{row['label']}, {'statement' if one.name in _STATEMENTS else 'question'}"}


def _fields(one: Domain, split: Split, number: int, rng: random.Random) -> dict[str, Any] | None:
    (scene,) = scenes(one, split, 1, rng)
    return {"text": scene.sentence, "label": scene.values[one.asked]} if one.asked in scene.named else None


def _nli(one: Domain, split: Split, number: int, rng: random.Random) -> dict[str, Any] | None:
    label = ("entailment", "contradiction", "neutral")[number % 3]
    (scene,) = scenes(one, split, 1, rng)
    event = rng.choice(one.events) if label == "neutral" else scene.event
    slot = rng.choice(list(event.claims))
    claim = rng.choice(event.claims[slot][split])
    # What a sentence does not name it leaves open; what it names it has to name whole, or the claim is of something else.
    if (slot in scene.named) == (label == "neutral") or not slots(claim) - {slot} <= scene.named:
        return None
    values = dict(scene.values)
    if label == "contradiction":
        values[slot] = rng.choice([word for word in one.words[slot].words if word != values[slot]])
    # "A screen" where the keyboard shows "a black screen", "at eight" where it took eight years: which label holds is a guess.
    if label != "entailment" and values[slot].lower() in scene.sentence.lower():
        return None
    return {"premise": scene.sentence, "hypothesis": scene._replace(values=values).fill(claim), "label": label}


def _qa(one: Domain, split: Split, number: int, rng: random.Random) -> dict[str, Any] | None:
    every = scenes(one, split, 3, rng)
    asked = rng.choice(every)
    slot = rng.choice(list(asked.event.asks))
    question = rng.choice(asked.event.asks[slot][split])
    if slot not in asked.named or not slots(question) <= asked.named:
        return None
    # A question that names nothing cannot be put about one of several sentences.
    told = every if slots(question) else [asked]
    return {
        "passage": " ".join(scene.sentence for scene in told),
        "question": asked.fill(question),
        "label": asked.values[slot],
    }


def _ner(one: Domain, split: Split, number: int, rng: random.Random) -> dict[str, Any]:
    (scene,) = scenes(one, split, 1, rng)
    tokens: list[str] = []
    tags: list[str] = []
    for part in re.split(r"({\w+})", scene.frame):
        slot = part[1:-1] if part.startswith("{") else ""
        own = _TOKEN.findall(scene.values[slot] if slot else part)
        kind = one.words[slot].kind if slot else ""
        tokens += own
        tags += [f"{'B' if place == 0 else 'I'}-{kind}" if kind else "O" for place in range(len(own))]
    return {"tokens": polished(" ".join(tokens)).split(" "), "ner_tags": tags}


def _relations(one: Domain, split: Split, number: int, rng: random.Random) -> dict[str, Any] | None:
    (scene,) = scenes(one, split, 1, rng)
    label = rng.choice(sorted(scene.event.relations))
    first, second = scene.event.relations[label]
    if not {first, second} <= scene.named:
        return None
    marked = {**scene.values, first: f"*{scene.values[first]}*", second: f"#{scene.values[second]}#"}
    return {"text": scene._replace(values=marked).sentence, "noun1": marked[first], "noun2": marked[second], "label": label}


FAMILIES: dict[str, Make] = {
    "mood": _mood,
    "nli": _nli,
    "qa": _qa,
    "ner": _ner,
    "relations": _relations,
    "forms": _forms,
    "fields": _fields,
}
