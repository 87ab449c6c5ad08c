"""This process among the others that a launcher started."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from vip_train.errors import ToldElsewhere, UserError


@dataclass(frozen=True)
class World:
    """This process among the others."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.size > 1:
            dist.all_reduce(total)
        return [float(value) for value in total]

    def sum_(self, tensor: Tensor) -> Tensor:
        """A tensor summed over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def from_first(self, work: Callable[[], list[bytes]]) -> list[bytes]:
        """What `work` returns in the first process, in every process; the others do not run it.

        So files are read and written in one place, and no process goes on before that is done.

        Raises:
            UserError: `work` raised it. The other processes raise `ToldElsewhere`.
        """
        if self.size == 1:
            return work()
        parts: list[bytes] = []
        failure: UserError | None = None
        if self.first:
            try:
                parts = work()
            except UserError as error:
                failure = error
        head = self._copied([failure is not None, *map(len, parts)])
        if failure is not None:
            raise failure
        if head[0]:
            raise ToldElsewhere("the first process says why")
        lengths = head[1:]
        blob = torch.zeros(sum(lengths), dtype=torch.uint8, device=self.device)
        if self.first and lengths:
            blob = torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8).to(self.device)
        if sum(lengths):
            dist.broadcast(blob, src=0)
        return [part.cpu().numpy().tobytes() for part in blob.split(lengths)] if lengths else []

    def first_does(self, work: Callable[[], None]) -> None:
        """Has the first process do something, and the others wait until it is done. Raises as `from_first`."""

        def then_nothing() -> list[bytes]:
            work()
            return []

        self.from_first(then_nothing)

    def _copied(self, numbers: list[int]) -> list[int]:
        """The first process's numbers, however many."""
        count = torch.tensor([len(numbers)], device=self.device)
        dist.broadcast(count, src=0)
        values = torch.zeros(int(count), dtype=torch.int64, device=self.device)
        if self.first:
            values.copy_(torch.tensor(numbers))
        dist.broadcast(values, src=0)
        return [int(value) for value in values]


def join_world(*, deepspeed: bool) -> World:
    """Joins the processes a launcher started, or stands alone.

    Raises:
        UserError: DeepSpeed is wanted and not installed.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if deepspeed:
        try:
            import deepspeed as library
        except ImportError as error:
            raise UserError("engine=deepspeed: DeepSpeed is not installed; pip install 'vip-train[deepspeed]'") from error
        for name, value in {
            "RANK": "0",
            "WORLD_SIZE": "1",
            "LOCAL_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "0",
        }.items():
            os.environ.setdefault(name, value)
        library.init_distributed()
    elif size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(rank, size, device)


def is_first() -> bool:
    """Whether this process speaks for all, as the launcher's environment has it; also before they have met."""
    return os.environ.get("RANK", "0") == "0"


def lost_another(error: RuntimeError) -> bool:
    """Whether this is what a collective raises when another process has ended."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)


def leave_world() -> None:
    """Says goodbye to the other processes, so that none waits for this one."""
    if not dist.is_initialized():
        return
    library = sys.modules.get("deepspeed")
    if library is not None and library.comm.is_initialized():
        library.comm.destroy_process_group()  # its caches of groups go too, so that another run in this process may follow
    else:
        dist.destroy_process_group()
