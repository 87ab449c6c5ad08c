"""The other built-in task: repeatable, balanced, its splits apart, its answers right, and out of reach of single words."""

import re
from collections import Counter, defaultdict
from typing import Any

import pytest
from vip_train.tasks import Example, get_task
from vip_train.tasks.reviews import generate

REVIEWS = get_task("reviews")
SPLITS: list[Any] = ["train", "validation"]
QUESTION = " Good news, yes or no?"
# Written down again on purpose: what each word says of a thing does not follow from the code. Praise comes first.
PLAIN = {
    "yes": ["excellent", "wonderful", "perfect", "lovely", "pleasant", "splendid"],
    "no": ["awful", "terrible", "poor", "nasty", "useless", "dreadful"],
}
THINGS = {
    ("long", "short"): ["battery life", "loan period"],
    ("short", "long"): ["loading time", "queue"],
    ("high", "low"): ["picture quality", "interest on savings", "comfort"],
    ("low", "high"): ["price", "monthly fee", "fare"],
    ("fast", "slow"): ["keyboard", "service"],
    ("slow", "fast"): ["battery drain", "growth of my debt"],
    ("hot", "cold"): ["soup", "bath water"],
    ("cold", "hot"): ["lemonade", "ice box"],
    ("large", "small"): ["portion", "room", "leg room"],
    ("small", "large"): ["bill", "stain on the carpet", "delay"],
    ("soft", "hard"): ["cake", "pillow"],
    ("hard", "soft"): ["biscuit", "dance floor"],
    ("light", "heavy"): ["suitcase"],
    ("heavy", "light"): ["winter blanket"],
}
MEANING = {thing: words for words, things in THINGS.items() for thing in things}
WORDS = {word for words in THINGS for word in words} | {*PLAIN["yes"], *PLAIN["no"]}
# The longest first, because a room is part of a leg room.
THING = re.compile("|".join(sorted(MEANING, key=len, reverse=True)))


def parts(example: Example) -> tuple[str, str]:
    """The thing a review is about, and the word it uses of it."""
    review = example.source.removesuffix(QUESTION)
    (thing,) = set(THING.findall(review))
    (word,) = {word for word in re.findall(r"\w+", THING.sub("", review)) if word in WORDS}
    return thing, word


def frame(example: Example) -> str:
    """The review with its thing and its word taken out."""
    thing, word = parts(example)
    return re.sub(rf"\b{word}\b", "WORD", example.source.replace(thing, "THING"))


@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_the_same_every_time(split: Any) -> None:
    assert list(generate(split)) == list(generate(split))
    assert REVIEWS.load(split, None) == REVIEWS.load(split, None)


@pytest.mark.parametrize(("split", "rows"), [("train", 2400), ("validation", 1200)])
def test_answers_are_balanced_over_all_and_for_each_thing(split: Any, rows: int) -> None:
    examples = REVIEWS.load(split, None)
    assert len(examples) == rows
    assert Counter(example.target for example in examples) == {"yes": rows // 2, "no": rows // 2}
    assert Counter((parts(example)[0], example.target) for example in examples) == {
        (thing, target): rows // 60 for thing in MEANING for target in ("yes", "no")
    }
    assert Counter(example.group for example in examples) == dict.fromkeys(
        ("phone", "bank", "kitchen", "hotel", "train"), rows // 5
    )


@pytest.mark.parametrize("split", SPLITS)
def test_every_answer_is_right(split: Any) -> None:
    for example in REVIEWS.load(split, None):
        thing, word = parts(example)
        praise, blame = MEANING[thing]
        assert word in {"yes": [*PLAIN["yes"], praise], "no": [*PLAIN["no"], blame]}[example.target], example
        assert example.source.endswith(QUESTION)


def test_no_frame_of_the_validation_split_is_trained_on_but_every_pair_is() -> None:
    train, validation = (REVIEWS.load(split, None) for split in SPLITS)
    frames = [{frame(example) for example in part} for part in (train, validation)]
    assert not frames[0] & frames[1]
    assert [len(found) for found in frames] == [8, 3]
    depends = {pair for pair in map(parts, validation) if pair[1] in MEANING[pair[0]]}
    assert depends <= set(map(parts, train))
    assert len(depends) == 60, "each thing with both of its words"


def test_words_alone_are_right_in_about_three_rows_of_four() -> None:
    """So what is read beyond single words is what is left to gain."""
    train, validation = (REVIEWS.load(split, None) for split in SPLITS)
    told: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        told[parts(example)[1]][example.target] += 1
    assert all(len(counts) == 2 for word, counts in told.items() if word not in PLAIN["yes"] + PLAIN["no"])
    right = [told[parts(example)[1]].most_common(1)[0][0] == example.target for example in validation]
    assert 0.7 < sum(right) / len(right) < 0.85
