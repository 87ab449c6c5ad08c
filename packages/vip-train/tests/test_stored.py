"""Examples on the disk are a sequence like any other."""

from vip_train.data import digest
from vip_train.splits import sample
from vip_train.stored import StoredExamples
from vip_train.tasks import Example

EXAMPLES = [Example(f"source {number} \n雪\u2028", f"target {number % 3}", "") for number in range(50)]


def stored() -> StoredExamples:
    found = StoredExamples()
    for example in EXAMPLES:
        found.append(example.source, example.target, 7 * len(found) + 1)
    return found


def test_they_are_the_examples_that_were_added() -> None:
    found = stored()
    assert list(found) == EXAMPLES
    assert [found[7], found[-1], *found[3:9:2]] == [EXAMPLES[7], EXAMPLES[-1], *EXAMPLES[3:9:2]]
    assert (len(found), len(StoredExamples())) == (50, 0)


def test_some_of_them_stay_when_the_others_are_gone() -> None:
    some = stored().only([4, 2, 30])
    assert list(some) == [EXAMPLES[4], EXAMPLES[2], EXAMPLES[30]]


def test_their_digest_is_that_of_a_list() -> None:
    assert digest(stored(), StoredExamples()) == digest(EXAMPLES, [])


def test_a_sample_of_them_is_that_of_a_list_and_stays_on_the_disk() -> None:
    found = sample(stored(), 9)
    assert isinstance(found, StoredExamples)
    assert list(found) == sample(EXAMPLES, 9)
