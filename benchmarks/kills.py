"""Kills training runs with SIGKILL at random moments, continues them and compares what they leave with an uninterrupted run.

Two processes on CPUs, plain torch and DeepSpeed ZeRO 0 to 3, a T5 of 32 dimensions with random weights. Every run is killed
once, up to 50 ms after a random step began in the first process, then continued by the same command unless its results were
written. It counts as equal if its adapter is equal byte for byte, and its metrics but for the seconds.

    nox -s bench -- kills [--kills 100] [--seed 0] [--limit 120]
"""

import argparse
import json
import os
import random
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import deepspeed  # noqa: F401 - imported once, before the processes are forked
import torch
from transformers import T5Config, T5ForConditionalGeneration
from vip_train import load_backbone
from vip_train.cli import main
from vip_train.data import Batch
from vip_train.loader import Loader

RANKS = 2
STEPS = 12
ENGINES = {
    "torch": ["--engine.name", "torch"],
    **{f"ZeRO {stage}": ["--engine.name", "deepspeed", "--engine.zero-stage", str(stage)] for stage in range(4)},
}
FLAGS = [
    *("--task", "superglue/cb", "--vip.prompt-length", "3", "--vip.contextualizer.width", "8"),
    *("--vip.contextualizer.layers", "1", "--vip.contextualizer.heads", "2", "--vip.contextualizer.feedforward", "16"),
    *("--vip.quantizer.codes", "7", "--vip.quantizer.draws", "4", "--vip.quantizer.warmup-steps", "3"),
    *("--optimizer.steps", str(STEPS), "--optimizer.batch-size", "8", "--optimizer.evaluate-every", "4"),
    *("--checkpoint.every", "2"),
]


class Kill(NamedTuple):
    """When a run dies."""

    step: int
    delay: float


def make_backbone(folder: Path) -> Path:
    tokenizer = load_backbone().tokenizer
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=64, num_layers=1, num_decoder_layers=1, num_heads=2,
        decoder_start_token_id=tokenizer.pad_token_id, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_data(folder: Path) -> Path:
    (folder / "CB").mkdir(parents=True)
    rng = random.Random(0)
    words = ["river", "house", "green", "bread", "night", "paper", "stone", "winter", "small", "answer"]
    for name, count in (("train", 30), ("val", 11)):
        rows = [
            {
                "premise": " ".join(rng.choices(words, k=rng.randint(4, 12))),
                "hypothesis": " ".join(rng.choices(words, k=4)),
                "label": rng.choice(["entailment", "contradiction", "neutral"]),
            }
            for _ in range(count)
        ]
        (folder / "CB" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def act(flags: list[str], rank: int, port: int, log: Path, steps: int) -> int:
    """What a forked process does; it tells of every step it begins through the pipe `steps`."""
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": RANKS, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    real = Loader.batch

    def batch(self: Loader, step: int) -> Batch:
        if rank == 0:
            os.write(steps, bytes([step]))
        return real(self, step)

    Loader.batch = batch  # type: ignore[method-assign]
    return main(["train", *flags])


def launch(flags: list[str], log: Path, kill: Kill | None, limit: float) -> list[int]:
    """Exit statuses of all processes of one run; minus the signal for what was killed."""
    port = free_port()
    read, write = os.pipe()
    processes = []
    for rank in range(RANKS):
        if (process := os.fork()) == 0:
            status = 1
            try:
                status = act(flags, rank, port, log.with_suffix(f".{rank}.log"), write)
            except Exception:  # noqa: BLE001 - what a whole process would do
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        processes.append(process)
    os.close(write)
    until = time.monotonic() + limit
    try:
        while select.select([read], [], [], max(0.0, until - time.monotonic()))[0]:
            step = os.read(read, 1)
            if not step:
                break  # all have ended
            if kill is not None and step[0] == kill.step:
                time.sleep(kill.delay)
                until = 0
        for process in processes if until < time.monotonic() else []:
            os.kill(process, signal.SIGKILL)
        return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    finally:
        os.close(read)
        for left in Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{port}_*"):
            left.unlink(missing_ok=True)


def leavings(run: Path) -> tuple[bytes, list[dict[str, object]]]:
    """What two equal runs have in common."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["seconds"]
    return (run / "adapter" / "adapter_model.safetensors").read_bytes(), lines


def measure(name: str, kills: int, folder: Path, common: list[str], rng: random.Random, limit: float) -> str:
    """A row of the table."""
    here = folder / name.replace(" ", "-")
    here.mkdir()
    flags = [*common, *ENGINES[name], "--output"]
    # With all the time it needs: DeepSpeed's first run compiles, and a build that is killed leaves a lock on which all hang.
    if any(launch([*flags, str(here / "whole")], here / "whole", None, 10 * limit)):
        return f"| {name} | the uninterrupted run failed, see {here} | | |"
    whole = leavings(here / "whole")
    equal = from_checkpoint = 0
    started = time.monotonic()
    for number in range(kills):
        run = here / str(number)
        died: list[int] = []
        while -signal.SIGKILL not in died:  # the last step may be over before the signal comes
            shutil.rmtree(run, ignore_errors=True)
            kill = Kill(rng.randint(1, STEPS), rng.uniform(0, 0.05))
            died = launch([*flags, str(run)], here / f"{number}.killed", kill, limit)
        from_checkpoint += any((run / "checkpoints").glob("step-*"))
        # Killed between its results and the removal of its checkpoints a run is finished, and would refuse to go on.
        finished = (run / "results.json").is_file()
        again = [0] * RANKS if finished else launch([*flags, str(run)], here / f"{number}.again", None, limit)
        if again == [0] * RANKS and leavings(run) == whole:
            equal += 1
        else:
            print(f"{name}, run {number}: differs after the kill at {kill}, see {here}", flush=True)
    return f"| {name} | {equal} of {kills} | {from_checkpoint} | {(time.monotonic() - started) / max(kills, 1):.1f} |"


def cli() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="over all engines together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=120, help="seconds that one run may take")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    rng = random.Random(options.seed)
    backbone, data = make_backbone(folder / "backbone"), make_data(folder / "data")
    common = [*FLAGS, "--backbone", str(backbone), "--data-dir", str(data)]
    rows = []
    for place, name in enumerate(ENGINES):
        share = options.kills // len(ENGINES) + (place < options.kills % len(ENGINES))
        rows.append(measure(name, share, folder, common, rng, options.limit))
        print(rows[-1], flush=True)
    print("\n| engine, 2 processes | equal | had a checkpoint | seconds a run |\n|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    cli()
