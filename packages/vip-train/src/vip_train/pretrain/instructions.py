"""Instructions in words: sentences of the suite's training domains, what is asked of them, and the answer.

A soft prompt can only ask a frozen model for what some text could have asked it for. So the model is taught to do as told in
words, in many wordings and with many sets of answers. Domains, frames, questions and claims are those of the training split
alone; no wording is that of a task of the suite, and nothing is asked of a text without an instruction.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from vip_train.suite.domains import TRAINED, Domain, domain
from vip_train.suite.families import FAMILIES
from vip_train.suite.scenes import scenes
from vip_train.tasks.listing import NOTHING, TYPES, write_listing
from vip_train.written import read_yaml


class Instruction(NamedTuple):
    """A text with an instruction, and what one who follows it writes."""

    source: str
    target: str


class _Asked(NamedTuple):
    """What a wording needs, and the answer; an answer that has a set of words is the key of one of them."""

    texts: Mapping[str, str]
    answer: str


_Ask = Callable[[Domain, random.Random], _Asked | None]


@cache
def _wordings() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    found: dict[str, Any] = read_yaml((files("vip_train") / "pretrain" / "instructions.yaml").read_text(encoding="utf-8"))
    return found


def instruct(rng: random.Random) -> Instruction:
    """Draws an instruction: any kind, any training domain, any wording."""
    while True:
        kind = rng.choices(list(_KINDS), weights=[weight for weight, _ in _KINDS.values()])[0]
        asked = _KINDS[kind][1](domain(rng.choice(TRAINED)), rng)
        if asked is not None:
            form = rng.choice(_wordings()[kind])
            source = rng.choice(form["wordings"]).format(**asked.texts)
            return Instruction(source, form["answers"][asked.answer] if "answers" in form else asked.answer)


def paragraph(rng: random.Random) -> str:
    """Two to six sentences of one training domain, remarks among them."""
    one = domain(rng.choice(TRAINED))
    told = [scene.sentence for scene in scenes(one, "train", rng.randint(1, 3), rng)]
    told += [_row("mood", one, rng)["text"] for _ in range(rng.randint(1, 3))]
    rng.shuffle(told)
    return " ".join(told)


def _row(family: str, one: Domain, rng: random.Random) -> Any:
    return FAMILIES[family](one, "train", rng.randrange(6 * len(one.things)), rng)


def _of(family: str) -> _Ask:
    """Asks for what a family of the suite asks for."""

    def ask(one: Domain, rng: random.Random) -> _Asked | None:
        row = _row(family, one, rng)
        return None if row is None else _Asked(row, row["label"])

    return ask


def _slot(one: Domain, rng: random.Random) -> _Asked:
    (scene,) = scenes(one, "train", 1, rng)
    slot = rng.choice(sorted(scene.named))
    return _Asked({"slot": slot, "text": scene.sentence}, scene.values[slot])


def _listing(one: Domain, rng: random.Random) -> _Asked:
    row = _row("ner", one, rng)
    return _Asked({"text": " ".join(row["tokens"])}, write_listing(row["tokens"], row["ner_tags"]))


def _named(one: Domain, rng: random.Random) -> _Asked:
    (scene,) = scenes(one, "train", 1, rng)
    return _Asked({"text": scene.sentence}, _names(scene.sentence, one, scene.values, scene.named, tuple(TYPES)))


def _kind(one: Domain, rng: random.Random) -> _Asked:
    (scene,) = scenes(one, "train", 1, rng)
    kind = rng.choice(("PER", "LOC", "ORG"))
    names = _names(scene.sentence, one, scene.values, scene.named, (kind,))
    return _Asked({"kind": TYPES[kind], "text": scene.sentence}, names)


def _names(sentence: str, one: Domain, values: Mapping[str, str], named: set[str], kinds: Sequence[str]) -> str:
    found = [values[slot] for slot in named if one.words[slot].kind in kinds]
    return "; ".join(sorted(found, key=lambda name: sentence.lower().find(name.lower()))) or NOTHING


def _domain(one: Domain, rng: random.Random) -> _Asked:
    if rng.random() < 0.5:
        return _Asked({"text": _row("mood", one, rng)["text"]}, one.name)
    (scene,) = scenes(one, "train", 1, rng)
    return _Asked({"text": scene.sentence}, one.name)


_KINDS: Mapping[str, tuple[float, _Ask]] = {
    "mood": (4, _of("mood")),
    "nli": (4, _of("nli")),
    "qa": (4, _of("qa")),
    "relations": (1, _of("relations")),
    "slot": (3, _slot),
    "listing": (2, _listing),
    "names": (1, _named),
    "kind": (1, _kind),
    "domain": (1, _domain),
}
"""How often each kind comes, and how it asks. Those that are harder to learn come more often."""
