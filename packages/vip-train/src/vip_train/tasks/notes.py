"""A small built-in task in which what is asked depends on the input, so that one fixed prompt cannot say it.

Every note names a person, a day, a colour and an animal. Which of them is the answer depends on where the note was taken:
reception wants the day, the garage the colour, the vet the animal, the box office the person, and so on. Nothing in a note says
so; the frozen backbone has to be told by a prompt that follows the note. Sentence frames of the validation split never occur in
training. The text is ours (CC0), generated from a fixed seed, and needs neither a network nor a file.
"""

import random
from collections.abc import Iterator

from vip_train.tasks.reading import Row
from vip_train.tasks.task import Split, TextTask

_VALUES = {
    "person": ("Anna", "Henry", "Maria", "Peter", "Sarah", "Thomas", "Alice", "George"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "colour": ("red", "green", "blue", "yellow", "white", "black", "brown", "grey"),
    "animal": ("dog", "cat", "horse", "bird", "sheep", "cow", "fish", "pig"),
}

_ASKED = {
    "hotel": "day",
    "school": "day",
    "garage": "colour",
    "tailor": "colour",
    "vet": "animal",
    "farm": "animal",
    "theatre": "person",
    "court": "person",
}

_TRAIN = {
    "hotel": (
        "The guest {person} arrives on {day}, takes the {colour} room and brings a {animal}.",
        "Reception: a {colour} suitcase for {person}, who checks in on {day} and has a {animal} along.",
        "A bed for {person} and a basket for the {animal}, from {day}, in the {colour} wing.",
        "On {day} the {colour} suite is for {person}; the {animal} may sleep on the landing.",
        "{person} asked the porter for the {colour} room with a view of the {animal} on {day}.",
    ),
    "school": (
        "On {day} the pupil {person} draws a {animal} in {colour} chalk.",
        "The class reads about a {colour} {animal} on {day}, and {person} holds the book.",
        "{person} has to bring the {colour} pencils and the {animal} picture to the lesson on {day}.",
        "Teacher's note: {person} missed the test on {day}, {colour} folder, {animal} sticker.",
        "Homework for {day}: {person} writes a page about a {animal} with a {colour} tail.",
    ),
    "garage": (
        "{person} left the {colour} car on {day}; there is a {animal} on the door.",
        "New tyres for the {colour} van of {person} by {day}, mind the {animal} in the back.",
        "On {day} a {animal} ran under the {colour} truck and {person} hit the brakes.",
        "The engine of the {colour} car that {person} drives smells of {animal}, look at it on {day}.",
        "Oil change on {day}: {person}, {colour} pickup, {animal} hair on every seat.",
    ),
    "tailor": (
        "A {colour} coat for {person}, to be ready on {day}, with a {animal} on the collar.",
        "{person} wants the {colour} cloth by {day}, the buttons show a {animal}.",
        "Shorten the {colour} trousers of {person} before {day}; a {animal} tore the hem.",
        "On {day} {person} tries on the {colour} dress, the one the {animal} sat on.",
        "Sew the {animal} badge on the {colour} jacket that {person} fetches on {day}.",
    ),
    "vet": (
        "{person} comes on {day} with a sick {animal} in a {colour} basket.",
        "The {animal} of {person} needs its shot on {day}; it has a {colour} collar.",
        "On {day} check the paw of the {animal} that {person} carried in under a {colour} cloth.",
        "A {animal} with a fever, {colour} tag, owner {person}, seen on {day}.",
        "Give {person} the {colour} pills for the {animal} on {day}, twice a day with food.",
    ),
    "farm": (
        "{person} feeds the {animal} behind the {colour} barn on {day}.",
        "On {day} the {animal} broke the {colour} fence and {person} ran after it.",
        "The {colour} gate stays shut until {day}, says {person}, or the {animal} gets out.",
        "{person} takes the {animal} to the market on {day} in the {colour} cart.",
        "Fresh straw for the {animal} in the {colour} shed on {day}, {person} has the key.",
    ),
    "theatre": (
        "On {day} {person} plays the king in a {colour} cloak and the {animal} gets the last laugh.",
        "The {colour} curtain rises on {day}; {person} sings to a painted {animal}.",
        "Two seats in the {colour} row on {day}, {person} acts the {animal}.",
        "{person} forgot the song about the {animal} on {day}, under the {colour} lights.",
        "The stage for {day}: a {colour} moon, a wooden {animal}, and {person} in the first scene.",
    ),
    "court": (
        "The judge heard {person} on {day} about a {colour} {animal} that was stolen.",
        "On {day} the witness {person} spoke of a {animal} near the {colour} house.",
        "{person} must pay for the {colour} fence and the {animal} before {day}, the court rules.",
        "The lawyer asked {person} on {day} who had painted the {animal} {colour}.",
        "Case of {day}: {person} against the owner of the {animal} with the {colour} bell.",
    ),
}

_VALIDATION = {
    "hotel": (
        "Breakfast in the {colour} room for the guest {person} on {day}, and milk for the {animal}.",
        "The porter carries the {animal} of {person} up to the {colour} suite on {day}.",
    ),
    "school": (
        "The teacher lets {person} paint a {animal} with {colour} paint on {day}.",
        "On {day} the pupils sing of the {colour} {animal}, and {person} reads the first page.",
    ),
    "garage": (
        "The brakes of the {colour} car: {person} wants it on {day}, the {animal} rides in front.",
        "A {animal} sleeps on the engine of the {colour} truck; {person} fetches it on {day}.",
    ),
    "tailor": (
        "The {colour} jacket with the {animal} buttons goes to {person} on {day}.",
        "On {day} sew a new collar on the {colour} coat, {person} says a {animal} tore it.",
    ),
    "vet": (
        "The sick {animal} in the {colour} basket belongs to {person}, come back on {day}.",
        "On {day} {person} fetches pills and a {colour} collar for the {animal}.",
    ),
    "farm": (
        "On {day} the {colour} barn gets straw, and {person} brings the {animal} in.",
        "The {animal} stands at the {colour} gate; {person} sells it at the market on {day}.",
    ),
    "theatre": (
        "In the last scene on {day} {person} sings, a {animal} dances and the {colour} curtain falls.",
        "{person} wears the {colour} cloak on the stage on {day} and rides a wooden {animal}.",
    ),
    "court": (
        "The witness saw {person} with a {animal} by the {colour} fence on {day}, said the lawyer.",
        "On {day} the judge asks {person} about the {colour} cart and the lost {animal}.",
    ),
}

_ROWS = {"train": 2400, "validation": 400}


def generate(split: Split) -> Iterator[Row]:
    """Rows with the fields note, domain and label; the same every time."""
    frames = _TRAIN if split == "train" else _VALIDATION
    rng = random.Random(f"notes-1-{split}")
    domains = sorted(_ASKED)
    for number in range(_ROWS[split]):
        domain = domains[number % len(domains)]
        values = {attribute: rng.choice(choices) for attribute, choices in _VALUES.items()}
        yield {"note": rng.choice(frames[domain]).format(**values), "domain": domain, "label": values[_ASKED[domain]]}


NOTES = TextTask(
    name="notes",
    template="{note}",
    answers={value: value for choices in _VALUES.values() for value in choices},
    generate=generate,
    group_field="domain",
)
