"""The next step's batch, made while this step runs."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import torch

from vip_train.data import Batch


class Loader:
    """Makes batches one step ahead, in one thread. A context manager: when it ends, so has the thread.

    What a step reads does not depend on it. An error comes out of `batch` for the step that it belongs to, as it was raised.

    Args:
        make: the batch of a step, on the host.
        last: the last step there will be.
        device: where it will be used. For a GPU it is put into pinned memory, from where `Batch.to` need not wait for the copy.
    """

    def __init__(self, make: Callable[[int], Batch], *, last: int, device: torch.device) -> None:
        self._make = make
        self._last = last
        self._device = device
        self._ahead: tuple[int, Future[Batch]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vip-train loader")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """The batch of a step, on the host; the next one is begun."""
        if self._ahead is None or self._ahead[0] != step:
            self._begin(step)
        assert self._ahead is not None
        found = self._ahead[1].result()
        self._ahead = None
        if step < self._last:
            self._begin(step + 1)
        return found

    def _begin(self, step: int) -> None:
        self._ahead = step, self._thread.submit(self._pinned, step)

    def _pinned(self, step: int) -> Batch:
        batch = self._make(step)
        if self._device.type != "cuda":
            return batch
        with torch.cuda.device(self._device):  # a new thread stands at the first GPU, and would take memory there
            return Batch(*(tensor.pin_memory() for tensor in batch))
