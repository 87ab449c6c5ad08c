"""Epochs of a mixture: shares by weight, every example of a part before any again, the same every time."""

from collections import Counter

import pytest
import torch
from vip_train.errors import UserError
from vip_train.mixing import Mixing
from vip_train.order import Shuffled
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit


def examples(**sizes: int) -> list[Example]:
    return [Example("text", "yes", "", task=name) for name, size in sizes.items() for _ in range(size)]


@pytest.mark.parametrize(
    ("sizes", "weights", "expected"),
    [
        ({"a": 30, "b": 10}, {"a": 1, "b": 1}, {"a": 30, "b": 30}),
        ({"a": 30, "b": 10}, {"a": 3, "b": 1}, {"a": 30, "b": 10}),
        ({"a": 30, "b": 10}, {"a": 1, "b": 2}, {"a": 30, "b": 60}),
        ({"a": 30, "b": 10}, {"a": 6, "b": 1}, {"a": 60, "b": 10}),
        ({"a": 30, "b": 7, "c": 1}, {"a": 0.5, "b": 0.5, "c": 0.25, "d": 0}, {"a": 30, "b": 30, "c": 15}),
    ],
)
def test_an_epoch_has_each_part_by_its_weight(
    sizes: dict[str, int], weights: dict[str, float], expected: dict[str, int]
) -> None:
    split = examples(**sizes)
    mixing = Mixing(split, weights, seed=0)
    assert len(mixing) == sum(expected.values())
    for epoch in range(3):
        rows = mixing.rows(epoch).tolist()
        assert Counter(split[row].task for row in rows) == expected


def test_no_example_of_a_part_is_a_round_ahead_of_another() -> None:
    mixing = Mixing(examples(a=30, b=7), {"a": 2, "b": 1}, seed=3)
    seen = torch.zeros(37, dtype=torch.int64)
    for epoch in range(9):
        seen += mixing.rows(epoch).bincount(minlength=37)
        for part in (seen[:30], seen[30:]):
            assert part.max() - part.min() <= 1
    assert seen[30:].sum() == 9 * 15


def test_it_repeats_and_differs_by_seed_and_epoch() -> None:
    split, weights = examples(a=30, b=7), {"a": 1, "b": 1}
    one, same, other = (Mixing(split, weights, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.rows(5), same.rows(5))
    assert not torch.equal(one.rows(5), one.rows(6))
    assert not torch.equal(one.rows(5), other.rows(5))


class Lengths(TokenisedSplit):
    def __init__(self, size: int) -> None:
        self.source_length_N = torch.arange(size)

    def __len__(self) -> int:
        return len(self.source_length_N)


@pytest.mark.parametrize("window", [1, 4])
def test_batches_of_an_epoch_are_its_rows_in_another_order(window: int) -> None:
    mixing = Mixing(examples(a=30, b=7), {"a": 1, "b": 1}, seed=0)
    batches = Shuffled(Lengths(37), batch_size=6, rank=0, world_size=1, seed=0, window=window, mixing=mixing)
    for epoch in range(2):
        rows = [row for step in range(epoch * 10, epoch * 10 + 10) for row in batches.rows(step + 1)]
        assert sorted(rows) == sorted(mixing.rows(epoch).tolist())
        assert rows != mixing.rows(epoch).tolist()


@pytest.mark.parametrize("weight", [1e300, 1e-300, 1e9])
def test_weights_that_make_an_endless_epoch_are_refused(weight: float) -> None:
    with pytest.raises(UserError, match="weights are too far apart"):
        Mixing(examples(a=3, b=3), {"a": weight, "b": 1}, seed=0)
