"""Runs groups of training processes one after another, forked from this one so that everything is imported only once.

The argument is a JSON file: a list of jobs, each with a `name`, `ranks`, `flags`, and whichever of these it wants:
`kill_at` (SIGKILL to all ranks), `stop_at` (SIGTERM to the last rank alone); each names the step in which it happens. What
rank R of job N says goes to `N.R.log` beside the file, exit statuses of all to `statuses.json`, minus the signal for a process
that was killed. Checkpoints that a kill left are copied to folder `N`.
"""

import json
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from vip_train.cli import main
from vip_train.data import Batch
from vip_train.loader import Loader

LIMIT = 120  # seconds per job: collectives wait for ever


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def act(job: dict[str, Any], rank: int, log: Path, port: int) -> int:
    """What a forked process does."""
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["ranks"], "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    last = rank == job["ranks"] - 1
    real = Loader.batch

    def batch(self: Loader, step: int) -> Batch:
        if step == job.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if last and step == job.get("stop_at"):
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, step)

    Loader.batch = batch  # type: ignore[method-assign]
    return main(["train", *job["flags"]])


def run(job: dict[str, Any], folder: Path) -> list[int]:
    """Exit statuses of all ranks."""
    port, processes = free_port(), []
    for rank in range(job["ranks"]):
        if (process := os.fork()) == 0:
            status = 1
            try:
                status = act(job, rank, folder / f"{job['name']}.{rank}.log", port)
            except Exception:  # noqa: BLE001 - what a whole process would do
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        processes.append(process)
    statuses: dict[int, int] = {}
    until = time.monotonic() + LIMIT
    while len(statuses) < len(processes):
        process, status = os.waitpid(-1, os.WNOHANG)
        if process:
            statuses[process] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > until:
            for left in set(processes) - statuses.keys():
                os.kill(left, signal.SIGKILL)
        else:
            time.sleep(0.02)
    for left in Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{port}_*"):
        left.unlink(missing_ok=True)  # DeepSpeed leaves 69 MB of memory for every process that was killed
    return [statuses[process] for process in processes]


if __name__ == "__main__":
    import deepspeed  # noqa: F401 - so that the forked processes need not

    plan = Path(sys.argv[1])
    found = {}
    for job in json.loads(plan.read_text(encoding="utf-8")):
        started = time.monotonic()
        found[job["name"]] = run(job, plan.parent)
        if "kill_at" in job:
            output = job["flags"][job["flags"].index("--output") + 1]
            shutil.copytree(plan.parent / output / "checkpoints", plan.parent / job["name"])
        print(f"{job['name']}: {found[job['name']]} in {time.monotonic() - started:.1f} s", flush=True)
    (plan.parent / "statuses.json").write_text(json.dumps(found), encoding="utf-8")
