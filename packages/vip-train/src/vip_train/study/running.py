"""Trains the cells of a study, each in a process of its own, several at a time."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from vip_train.errors import Stopped
from vip_train.signals import StopRequest
from vip_train.study.plan import Cell

_POLL = 0.5
"""Seconds between looks at whether a signal came."""


class Failure(NamedTuple):
    """A cell that did not finish."""

    cell: Cell
    reason: str
    """What it said last, or what ended it."""


def devices(workers: int | None) -> list[str]:
    """For each worker the GPU it has, by the name that CUDA_VISIBLE_DEVICES gives it if that is set; "" where there is none."""
    count = torch.cuda.device_count()
    if not count:
        return [""] * (workers or 1)
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = given.split(",")[:count] if given else [str(number) for number in range(count)]
    return [names[number % count].strip() for number in range(workers or count)]


def complaint(failures: Sequence[Failure], again: str = "the same command") -> str:
    """What is said of runs that failed, at least one, and what tries them again."""
    first = failures[0]
    more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"{first.cell.name}: {first.reason} (see {first.cell.log}){more}; {again} tries again"


def train_cells(cells: Sequence[Cell], devices: Sequence[str], watch: Callable[[], None] = lambda: None) -> list[Failure]:
    """Trains cells in order, as many at a time as there are devices.

    A cell that fails does not keep the others from being trained. Each writes what it says to a file.

    Args:
        cells: that are not finished; one that was broken off goes on from its newest checkpoint.
        devices: one for each worker: the number of a GPU, or "" for the CPU, whose cores the workers share.
        watch: called now and then while they run, and once more at the end.

    Raises:
        Stopped: SIGTERM or SIGINT came. The running cells were told, and wrote checkpoints.
    """
    free: queue.SimpleQueue[str] = queue.SimpleQueue()
    for device in devices:
        free.put(device)
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    failures: list[Failure] = []
    running = _Running()
    with (
        StopRequest() as stop,
        tqdm(total=len(cells), desc="study", unit="run", mininterval=1.0) as bar,
        ThreadPoolExecutor(len(devices)) as pool,
    ):

        def train(cell: Cell) -> None:
            device = free.get()
            try:
                status = running.run(cell, device, threads)
                reason = "" if not status else _reason(cell.log, status)
            except OSError as error:
                status, reason = 2, f"{error.filename}: {error.strerror}"
            finally:
                free.put(device)
            if status is None:
                return
            if status:
                failures.append(Failure(cell, reason))
                bar.write(f"failed: {cell.name}: {failures[-1].reason}")
            bar.update()

        futures = [pool.submit(train, cell) for cell in cells]
        while not all(future.done() for future in futures):
            if stop.asked:
                running.stop()
            running.wait(_POLL)
            watch()
        for future in futures:
            future.result()
    if stop.asked:
        raise Stopped(f"stopped by {stop.name}; the same command continues the study")
    return failures


class _Running:
    """The processes there are. After `stop` none is begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()
        self._ended = threading.Event()

    def run(self, cell: Cell, device: str, threads: int) -> int | None:
        """Trains a cell to its end; returns its status, None if it was not begun or told to stop."""
        environment = {"OMP_NUM_THREADS": str(threads)} | os.environ | ({"CUDA_VISIBLE_DEVICES": device} if device else {})
        command = [sys.executable, "-m", "vip_train.cli", "train", *cell.flags]
        if self._stopped.is_set():
            return None
        cell.log.parent.mkdir(parents=True, exist_ok=True)
        with cell.log.open("ab") as said:
            with self._lock:
                if self._stopped.is_set():
                    return None
                # In a session of its own Ctrl-C does not reach it twice.
                process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)
                self._processes.add(process)
            status = process.wait()
        with self._lock:
            self._processes.remove(process)
            self._ended.set()
            return None if self._stopped.is_set() and status else status

    def stop(self) -> None:
        """Tells all processes to write a checkpoint and end."""
        with self._lock:
            if self._stopped.is_set():
                return
            self._stopped.set()
            for process in self._processes:
                process.terminate()

    def wait(self, seconds: float) -> None:
        """Until a process ends, or so long."""
        self._ended.wait(seconds)
        self._ended.clear()


def _reason(log: Path, status: int) -> str:
    """What the log says last of all, if it is an error's line; else how the process ended, of which the log knows nothing."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1].removeprefix("vip-train: ") if said else f"ended with status {status}"
