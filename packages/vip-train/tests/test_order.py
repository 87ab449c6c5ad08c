"""The order of shuffled batches: whole epochs, the same on any number of processes, of similar length, evenly dealt."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from vip_train.order import Shuffled
from vip_train.tokenised import TokenisedSplit


class Lengths(TokenisedSplit):
    """Stands for a split: lengths alone, no texts."""

    def __init__(self, length_N: Tensor) -> None:
        self.source_length_N = length_N

    def __len__(self) -> int:
        return len(self.source_length_N)


def lengths(count: int) -> Tensor:
    """As those of texts are: many short, few long, some equal."""
    generator = torch.Generator().manual_seed(count)
    return (torch.randn(count, generator=generator).mul(0.5).exp() * 60).long()


def shuffled(*, of: int, rank: int = 0, ranks: int = 1, batch: int = 3, seed: int = 0, window: int = 4) -> Shuffled:
    return Shuffled(Lengths(lengths(of)), batch_size=batch, rank=rank, world_size=ranks, seed=seed, window=window)


def steps(count: int, **values: int) -> list[list[int]]:
    """The examples that a rank reads, step by step."""
    batches = shuffled(**values)  # type: ignore[arg-type]
    return [batches.share(step) for step in range(1, count + 1)]


def first_epoch(**values: int) -> list[int]:
    """All examples of an epoch in the order they are read."""
    found = steps(30 // 3, of=30, **values)
    return [row for share in found for row in share]


@given(size=st.integers(1, 60), batch=st.integers(1, 30), seed=st.integers(0, 100), window=st.integers(1, 9))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_batches_are_full_and_no_example_is_an_epoch_ahead_of_another(size: int, batch: int, seed: int, window: int) -> None:
    seen_N = torch.zeros(size, dtype=torch.int64)
    for share in steps(-(-4 * size // batch), of=size, batch=batch, seed=seed, window=window):
        assert len(share) == batch
        seen_N += torch.tensor(share).bincount(minlength=size)
        assert seen_N.max() - seen_N.min() <= -(-batch // size), "at most one, or what a batch of several epochs repeats"
    if size % batch == 0:
        assert seen_N.tolist() == [4] * size


@given(share=st.integers(1, 8), ranks=st.integers(2, 4), size=st.integers(1, 40), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_step_reads_the_same_examples_on_any_number_of_processes(share: int, ranks: int, size: int, seed: int) -> None:
    whole = steps(5, of=size, batch=share * ranks, seed=seed)
    parts = [steps(5, of=size, rank=rank, ranks=ranks, batch=share * ranks, seed=seed) for rank in range(ranks)]
    for step, batch in enumerate(whole):
        assert {len(part[step]) for part in parts} == {share}
        assert sorted(number for part in parts for number in part[step]) == sorted(batch)


@pytest.mark.parametrize("window", [1, 4])
def test_a_step_can_be_read_without_those_before_it(window: int) -> None:
    batches = shuffled(of=31, window=window)
    forwards = [batches.rows(step) for step in range(1, 39)]
    assert [batches.rows(step) for step in range(38, 0, -1)] == forwards[::-1]
    assert shuffled(of=31, window=window).rows(17) == forwards[16]


def padded_share(window: int) -> float:
    length_N, batches = lengths(640), shuffled(of=640, batch=16, window=window)
    found = [length_N[batches.rows(step)] for step in range(1, 41)]
    return 1 - float(length_N.sum()) / float(sum(len(length_B) * length_B.max() for length_B in found))


def test_a_window_leaves_little_padding() -> None:
    shares = [padded_share(window) for window in (1, 4, 16, 40)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.5, "there is something to gain, or this test shows nothing"
    assert shares[2] < 0.2


def test_long_batches_do_not_all_come_together() -> None:
    """Batches of a window are exchanged, with all others of the epoch."""
    length_N, batches = lengths(640), shuffled(of=640, batch=16, window=40)
    longest = [int(length_N[batches.rows(step)].max()) for step in range(1, 41)]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))
    assert min(longest[:20]) < max(longest[20:])
    assert max(longest[:20]) > min(longest[20:])


def test_batches_are_of_other_examples_in_the_next_epoch() -> None:
    found = [frozenset(share) for share in steps(40, of=60)]
    assert len(set(found[:20]) & set(found[20:])) < 5


@pytest.mark.parametrize("window", [1, 8])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_processes_have_equally_much_to_do_in_each_part_of_a_step(parts: int, window: int) -> None:
    """Neighbours in length differ, at one place of the order, by what lies between them: no process is far behind."""
    length_N, ranks, batch = lengths(640), 4, 32
    for step in range(1, 21):
        row_B = torch.tensor(shuffled(of=640, batch=batch, window=window).rows(step))
        blocks = length_N[row_B].view(parts, -1)
        for rank in range(ranks):
            share = torch.tensor(shuffled(of=640, rank=rank, ranks=ranks, batch=batch, window=window).share(step))
            for part, block in zip(length_N[share].view(parts, -1), blocks, strict=True):
                assert block[ranks - 1] <= part[0] <= block[0], "padded to at least the fourth of the block's longest"


def test_processes_that_do_not_divide_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=3 must be divisible by world_size=2"):
        shuffled(of=7, ranks=2)


@pytest.mark.parametrize("window", [1, 4])
def test_the_seed_decides_the_order(window: int) -> None:
    assert first_epoch(seed=7, window=window) == first_epoch(seed=7, window=window)
    assert first_epoch(seed=7, window=window) != first_epoch(seed=8, window=window)


def test_the_order_neither_follows_nor_moves_torchs_randomness() -> None:
    torch.manual_seed(1)
    first = first_epoch()
    after = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(after, torch.get_rng_state())
    torch.manual_seed(2)
    assert first_epoch() == first
