"""Batches one step ahead: the same ones, errors where they belong, and no thread left."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from vip_train.data import Batch
from vip_train.loader import Loader

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def number(step: int) -> Batch:
    return Batch(*(torch.full((2, 3), step) for _ in range(3)))


def loader(make: Callable[[int], Batch] = number, *, last: int = 9) -> Loader:
    return Loader(make, last=last, device=CPU)


def test_steps_get_their_own_batches() -> None:
    with loader() as batches:
        assert [int(batches.batch(step).labels[0, 0]) for step in range(4, 10)] == [4, 5, 6, 7, 8, 9]


def test_any_step_may_be_asked_for() -> None:
    with loader() as batches:
        assert [int(batches.batch(step).labels[0, 0]) for step in (3, 3, 8, 1)] == [3, 3, 8, 1]


def test_the_next_batch_is_made_while_the_step_runs() -> None:
    made = {step: threading.Event() for step in range(1, 4)}

    def make(step: int) -> Batch:
        made[step].set()
        return number(step)

    with loader(make, last=2) as batches:
        batches.batch(1)
        assert made[2].wait(60), "nobody has asked for it yet"
        batches.batch(2)
    assert not made[3].is_set(), "there is no step after the last"


class Broken(BaseException):
    """Nothing of ours catches it."""


@pytest.mark.parametrize("kind", [ValueError, Broken])
def test_an_error_comes_out_as_itself_in_its_own_step(kind: type[BaseException]) -> None:
    error = kind("row 7")

    def make(step: int) -> Batch:
        if step == 2:
            raise error
        return number(step)

    with loader(make) as batches:
        batches.batch(1)
        with pytest.raises(kind, match="row 7") as caught:
            batches.batch(2)
        assert caught.value is error
    assert "make" in [entry.name for entry in caught.traceback], "where it happened is shown"


def test_no_thread_outlives_an_error_of_the_step() -> None:
    def step() -> None:
        with loader() as batches:
            batches.batch(1)
            raise ValueError("of the step")

    with pytest.raises(ValueError, match="of the step"):
        step()


def test_the_thread_neither_moves_nor_follows_torchs_randomness() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with loader() as batches:
        batches.batch(1)
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.backends.cuda.is_built() or torch.cuda.device_count() == 0, reason="needs a CUDA device")
def test_for_a_gpu_batches_lie_in_pinned_memory() -> None:
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    with Loader(number, last=5, device=device) as batches:
        for step in range(1, 6):
            found = batches.batch(step)
            assert all(tensor.is_pinned() for tensor in found)
            assert int(found.to(device).labels[0, 0]) == step
