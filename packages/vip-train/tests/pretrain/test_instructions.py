"""Instructions in words: each can be followed, none shows what the suite keeps for later."""

import random
import re
from collections import Counter

import pytest
from vip_train.pretrain.instructions import instruct, paragraph
from vip_train.suite.domains import HELD_OUT, TRAINED, domain
from vip_train.tasks import TASKS
from vip_train.tasks.listing import NOTHING, read_listing
from vip_train.tasks.task import Split

DRAWN = [instruct(source) for source in [random.Random(0)] for _ in range(6000)]
TOLD = [paragraph(source) for source in [random.Random(0)] for _ in range(1000)]
MOODS = ("good", "bad", "yes", "no", "true", "false", "praise", "blame", "right", "wrong", "happy", "sad", "one", "two")
CLAIMS = ("true", "false", "neither", "yes", "no", "perhaps", "right", "wrong", "open", "same", "other", "more")
RELATIONS = ("amount", "holder", "maker", "part", "place", "recipient", "sign", "time")


def test_the_same_seed_draws_the_same() -> None:
    again = random.Random(0)
    assert [instruct(again) for _ in range(50)] == DRAWN[:50]
    assert instruct(random.Random(1)) != DRAWN[0]


def test_every_answer_is_a_word_that_can_be_given_or_stands_in_the_text() -> None:
    words = {*MOODS, *CLAIMS, *RELATIONS, *TRAINED, NOTHING}
    for source, target in DRAWN:
        if target in words:
            continue
        for name in [one.text for one in read_listing(target) or []] or target.split("; "):
            assert name.lower() in source.lower().replace(" '", "'").replace(" .", "."), (source, target)


@pytest.mark.parametrize("word", [*MOODS, *CLAIMS, *RELATIONS, *TRAINED, NOTHING])
def test_every_answer_comes(word: str) -> None:
    assert Counter(one.target for one in DRAWN)[word] > 4


@pytest.mark.parametrize(("thing", "praised"), [("battery", True), ("waiting line", False)])
def test_a_word_of_two_meanings_is_judged_by_its_domain(thing: str, praised: bool) -> None:
    judged = {"good": True, "praise": True, "happy": True, "bad": False, "blame": False, "sad": False}
    told = [(text, judged[word]) for text, word in DRAWN if word in judged and thing in text and re.search(r"\blong\b", text)]
    assert told
    assert {found for _, found in told} == {praised}, told


def frames(split: Split, names: tuple[str, ...]) -> set[str]:
    """The longest fixed words of each frame, by which a sentence of it can be told."""
    found = set()
    for name in names:
        one = domain(name)
        texts = [*one.moods[split], *(frame for event in one.events for frame in event.frames[split])]
        for text in texts:
            found.add(max(re.split(r"{\w+}|\[[^\]]*\]", text), key=len).strip(" ,.:;"))
    return {part for part in found if len(part) > 12}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_no_frame_of_the_other_splits_occurs(split: Split) -> None:
    kept = frames(split, TRAINED)
    assert len(kept) > 20
    for text in [*TOLD, *(one.source for one in DRAWN)]:
        assert not [part for part in kept if part in text], text


def test_no_held_out_domain_occurs() -> None:
    kept = frames("validation", HELD_OUT) | frames("test", HELD_OUT)
    own = {word for name in HELD_OUT for words in domain(name).words.values() for word in words.words}
    own -= {word for name in TRAINED for words in domain(name).words.values() for word in words.words}
    things = {thing.name for name in HELD_OUT for thing in domain(name).things}
    things -= {thing.name for name in TRAINED for thing in domain(name).things}
    assert len(own) > 20
    for text in [*TOLD, *(one.source for one in DRAWN)]:
        assert not [part for part in kept if part in text], text
        assert not [word for word in things if re.search(rf"\b{re.escape(word)}\b", text)], text


@pytest.mark.parametrize("family", ["mood", "nli", "qa", "relations", "ner"])
def test_no_wording_is_that_of_a_task(family: str) -> None:
    """What a task of the suite puts around its texts is not what the instructions do."""
    fixed = [part.strip() for part in re.split(r"{\w+}", TASKS[f"suite/{family}"].template) if part.strip()]
    for source, _ in DRAWN:
        assert not all(part in source for part in fixed), source
