"""Entity F1 against counting by hand: on the gold tags' own tokens, with lists that cannot be read or placed."""

import pytest
from vip_train.metrics import METRICS
from vip_train.tasks import Example
from vip_train.tasks.listing import to_iob2, write_listing

SENTENCES = {
    "EU rejects Ada Bo Berg": "B-ORG O B-PER B-PER I-PER",
    "It rained": "O O",
    "Bonn beat Bonn": "B-ORG O B-LOC",
}


def example(tokens: str, tags: str) -> Example:
    pairs = tuple(f"{token} {tag}" for token, tag in zip(tokens.split(), tags.split(), strict=True))
    return Example(tokens, write_listing(tokens.split(), tags.split()), "", references=pairs)


EXAMPLES = [example(tokens, tags) for tokens, tags in SENTENCES.items()]  # five entities


def f1(*answers: str) -> float:
    return METRICS["entity_f1"].score(answers, EXAMPLES[: len(answers)], ())


def test_the_targets_themselves_are_right() -> None:
    assert f1(*(one.target for one in EXAMPLES)) == 1.0


@pytest.mark.parametrize(
    ("answers", "right", "given"),
    [
        (("organization: EU; person: Ada; person: Bo", "none", "organization: Bonn"), 3, 4),  # extent of Bo Berg is wrong
        (("person: EU; person: Ada; person: Bo Berg", "none", "location: Bonn; organization: Bonn"), 2, 5),
        (("none", "none", "none"), 0, 0),
        (("person: Ada", "person: Ada", "none"), 1, 2),  # one that the sentence lacks is one too many
        (("person: Ada; person: Ada; person: Ada", "none", "none"), 1, 3),
        (("person: Ada; cat: Bo", "location: rained", "nothing at all"), 0, 1),  # the first and third are no lists
        (("", "", ""), 0, 0),
    ],
)
def test_entities_count_by_type_and_extent(answers: tuple[str, ...], right: int, given: int) -> None:
    assert f1(*answers) == pytest.approx(2 * right / (given + 5))


def test_no_entities_given_or_wanted_is_no_error() -> None:
    assert METRICS["entity_f1"].score(["none"], [EXAMPLES[1]], ()) == 0.0


def test_neighbours_of_one_type_stay_two_whatever_the_scheme() -> None:
    tags = " ".join(to_iob2(["I-ORG", "O", "I-PER", "B-PER", "I-PER"]))
    found = METRICS["entity_f1"].score(["person: Ada Bo Berg; organization: EU"], [example("EU rejects Ada Bo Berg", tags)], ())
    assert found == pytest.approx(2 * 1 / (2 + 3))


def test_lists_that_cannot_be_read_are_known() -> None:
    is_readable = METRICS["entity_f1"].is_readable
    assert [is_readable(text) for text in ("none", "person: A", "person", "")] == [True, True, False, False]
