"""A small built-in task: is a review good news? In half of the rows the answer depends on what a word is said of.

Excellent is praise of anything. But a long battery life is good news and a long queue is not; hot soup is welcome, a hot
lemonade is not: there no word decides alone. Who reads single words only is right in about three rows of four. Sentence
frames of the validation split never occur in training; pairs of thing and word do. The text is ours (CC0), generated from a
fixed seed, and needs neither a network nor a file.
"""

import random
from collections.abc import Iterator

from vip_train.tasks.reading import Row
from vip_train.tasks.task import Split, TextTask

# Domain, thing, the word that praises it, the word that blames it. Every pair of words praises some things either way round.
_THINGS = (
    ("phone", "battery life", "long", "short"),
    ("phone", "loading time", "short", "long"),
    ("phone", "picture quality", "high", "low"),
    ("phone", "price", "low", "high"),
    ("phone", "keyboard", "fast", "slow"),
    ("phone", "battery drain", "slow", "fast"),
    ("bank", "queue", "short", "long"),
    ("bank", "loan period", "long", "short"),
    ("bank", "monthly fee", "low", "high"),
    ("bank", "interest on savings", "high", "low"),
    ("bank", "service", "fast", "slow"),
    ("bank", "growth of my debt", "slow", "fast"),
    ("kitchen", "soup", "hot", "cold"),
    ("kitchen", "lemonade", "cold", "hot"),
    ("kitchen", "portion", "large", "small"),
    ("kitchen", "bill", "small", "large"),
    ("kitchen", "cake", "soft", "hard"),
    ("kitchen", "biscuit", "hard", "soft"),
    ("hotel", "bath water", "hot", "cold"),
    ("hotel", "ice box", "cold", "hot"),
    ("hotel", "room", "large", "small"),
    ("hotel", "stain on the carpet", "small", "large"),
    ("hotel", "pillow", "soft", "hard"),
    ("hotel", "dance floor", "hard", "soft"),
    ("train", "leg room", "large", "small"),
    ("train", "delay", "small", "large"),
    ("train", "suitcase", "light", "heavy"),
    ("train", "winter blanket", "heavy", "light"),
    ("train", "fare", "low", "high"),
    ("train", "comfort", "high", "low"),
)

_PRAISE = ("excellent", "wonderful", "perfect", "lovely", "pleasant", "splendid")
_BLAME = ("awful", "terrible", "poor", "nasty", "useless", "dreadful")

_TRAIN = (
    "The {thing} is {word}.",
    "I think the {thing} was too {word} to forget, it is simply {word}.",
    "We all said how {word} the {thing} was.",
    "What a {word} {thing}!",
    "They told me about a {word} {thing}, and so it was.",
    "About the {thing}: very {word}, said my brother.",
    "My wife calls the {thing} rather {word}.",
    "Once more a {word} {thing} this week.",
)

_VALIDATION = (
    "In the end the {thing} proved to be {word}.",
    "Nobody had a {thing} as {word} as ours.",
    "So {word} was the {thing} that we spoke of it for days.",
)

_ROWS = {"train": 2400, "validation": 1200}


def generate(split: Split) -> Iterator[Row]:
    """Rows with the fields review, domain and label; the same every time, half of them praise."""
    frames = _TRAIN if split == "train" else _VALIDATION
    rng = random.Random(f"reviews-1-{split}")
    for number in range(_ROWS[split]):
        domain, thing, praise, blame = _THINGS[number // 2 % len(_THINGS)]
        label = ("praise", "blame")[number % 2]
        plain = rng.choice(_PRAISE if label == "praise" else _BLAME)
        word = rng.choice((plain, praise if label == "praise" else blame))
        review = rng.choice(frames).format(thing=thing, word=word)
        yield {"review": review, "domain": domain, "label": label}


REVIEWS = TextTask(
    name="reviews",
    template="{review} Good news, yes or no?",
    answers={"praise": "yes", "blame": "no"},
    generate=generate,
    group_field="domain",
)
