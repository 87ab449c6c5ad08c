"""Entities as text and back: tags of both schemes, places, names that are not there."""

import pytest
from vip_train.tasks.listing import Entity, place_entities, read_listing, to_iob2, write_listing


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-PER I-PER O I-LOC", "B-PER I-PER O B-LOC"),  # IOB1
        ("I-PER B-PER I-PER", "B-PER B-PER I-PER"),  # IOB1: B only between neighbours of one type
        ("I-PER I-LOC I-LOC", "B-PER B-LOC I-LOC"),
        ("B-PER I-PER O B-LOC", "B-PER I-PER O B-LOC"),  # IOB2 stays
        ("B-PER B-PER", "B-PER B-PER"),
        ("B-PER I-LOC", "B-PER B-LOC"),
        ("O O", "O O"),
        ("I-MISC", "B-MISC"),
    ],
)
def test_both_schemes_become_iob2(tags: str, expected: str) -> None:
    assert to_iob2(tags.split()) == expected.split()
    assert to_iob2(expected.split()) == expected.split()


@pytest.mark.parametrize(
    ("tokens", "tags", "text"),
    [
        ("Peter Blackburn", "B-PER I-PER", "person: Peter Blackburn"),
        ("EU and Bonn , UK", "B-ORG O B-LOC O B-LOC", "organization: EU; location: Bonn; location: UK"),
        ("Ada Bo", "B-PER B-PER", "person: Ada; person: Bo"),
        ("it rained", "O O", "none"),
        ("the Æsir of Zürich", "O B-MISC O B-LOC", "miscellaneous: Æsir; location: Zürich"),
        ("none ; person: x", "B-PER I-PER I-PER I-PER", "person: none ; person: x"),
    ],
)
def test_what_is_written_is_read_back_to_the_same_tags(tokens: str, tags: str, text: str) -> None:
    assert write_listing(tokens.split(), tags.split()) == text
    if "person: x" in tokens:
        return  # a name that looks like an item cannot be told from two
    entities = read_listing(text)
    assert entities is not None
    assert place_entities(entities, tokens.split()) == (tags.split(), [])


def test_names_may_hold_semicolons_and_colons() -> None:
    assert read_listing("person: A; B: c; location: D") == [Entity("PER", "A; B: c"), Entity("LOC", "D")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "yes",
        "person",
        "person:",
        "person: ",
        "animal: cat",
        "None",
        "none; person: A",
        "; person: A",
    ],
)
def test_what_is_no_list_is_said_so(text: str) -> None:
    assert read_listing(text) is None


def test_white_space_around_a_list_does_not_matter() -> None:
    assert read_listing(" none\n") == []
    assert read_listing(" person: A ") == [Entity("PER", "A")]


def test_a_name_that_comes_twice_is_placed_in_order() -> None:
    tokens = ["Bonn", "beat", "Bonn", "in", "Bonn"]
    twice = [Entity("ORG", "Bonn"), Entity("LOC", "Bonn")]
    assert place_entities(twice, tokens).tags == ["B-ORG", "O", "B-LOC", "O", "O"]
    assert place_entities([*twice, *twice], tokens).missing == [Entity("LOC", "Bonn")]


def test_part_of_a_longer_name_is_not_taken_for_a_later_one() -> None:
    tokens = ["Bank", "of", "Japan", "of", "Japan"]
    found = place_entities([Entity("ORG", "Bank of Japan"), Entity("LOC", "Japan")], tokens)
    assert found == (["B-ORG", "I-ORG", "I-ORG", "O", "B-LOC"], [])


def test_a_name_out_of_order_is_still_found() -> None:
    found = place_entities([Entity("LOC", "Bonn"), Entity("PER", "Ada")], ["Ada", "in", "Bonn"])
    assert found == (["B-PER", "O", "B-LOC"], [])


def test_white_space_within_a_name_does_not_matter_but_letters_do() -> None:
    tokens = ["Smith", "'s", "U.N.", "tour"]
    assert place_entities([Entity("PER", "Smith's"), Entity("ORG", "U. N.")], tokens).tags == ["B-PER", "I-PER", "B-ORG", "O"]
    for text in ("smith", "Smith '", "Smithson", "tour de"):
        assert place_entities([Entity("PER", text)], tokens).missing == [Entity("PER", text)]
