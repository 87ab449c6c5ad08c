"""Whole runs on one and two processes, killed and continued: at every ZeRO stage bit for bit, and across stages and sizes.

The processes are started by forks.py.
"""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

NO_DEEPSPEED = shutil.which("g++") is None or importlib.util.find_spec("deepspeed") is None
pytestmark = [
    pytest.mark.deepspeed,
    pytest.mark.skipif(NO_DEEPSPEED, reason="needs deepspeed, and g++ to compile its operators"),
]
Execute = Callable[..., CompletedProcess[str]]
TORCH = ["--engine.name", "torch"]
ENGINES = {
    "torch": TORCH,
    **{f"zero {stage}": ["--engine.name", "deepspeed", "--engine.zero-stage", str(stage)] for stage in range(4)},
    "zero 1, cpu": ["--engine.name", "deepspeed", "--engine.zero-stage", "1", "--engine.offload", "cpu"],
    "zero 3, cpu": ["--engine.name", "deepspeed", "--engine.zero-stage", "3", "--engine.offload", "cpu"],
}
KILLED = [engine for engine in ENGINES if engine != "zero 1, cpu"]
ELASTIC = {
    "2 to 1": (("zero 2", 2), ("torch", 1)),
    "1 to 2": (("zero 1", 1), ("zero 2", 2)),
    "3 to 0": (("zero 3", 2), ("zero 0", 2)),
}
"""Engine and processes before and after the kill."""


def jobs(flags: list[str]) -> list[dict[str, Any]]:
    """All runs, in order. What is killed is killed in its sixth step, after a checkpoint of the fourth."""
    found: list[dict[str, Any]] = []

    def add(name: str, engine: str, ranks: int, *more: str, output: str = "", **events: int) -> None:
        found.append(
            {"name": name, "ranks": ranks, "flags": [*flags, *ENGINES[engine], *more, "--output", output or name], **events}
        )

    for engine in ENGINES:
        add(f"{engine}, whole", engine, 2)
    for engine in KILLED:
        add(f"{engine}, killed", engine, 2, output=engine, kill_at=6)
        add(f"{engine}, continued", engine, 2, output=engine)
    # Draws belong to a rank, so only what draws nothing can be the same on another number of processes.
    free = ("--vip.method", "vip-c")
    add("alone", "torch", 1, *free)
    for name, ((before, ranks), (after, more_ranks)) in ELASTIC.items():
        add(f"{name}, killed", before, ranks, *free, output=name, kill_at=6)
        add(f"{name}, continued", after, more_ranks, *free, output=name)
    add("stop, stopped", "zero 2", 2, output="stop", stop_at=5)
    add("stop, continued", "zero 2", 2, output="stop")
    return found


class Ran:
    """What the processes left."""

    def __init__(self, folder: Path, statuses: dict[str, list[int]]) -> None:
        self.folder, self.statuses = folder, statuses

    def said(self, name: str, rank: int = 0) -> str:
        return (self.folder / f"{name}.{rank}.log").read_text(encoding="utf-8", errors="replace")

    def adapter(self, output: str, name: str = "adapter-last") -> dict[str, Tensor]:
        return load_file(self.folder / output / name / "adapter_model.safetensors")

    def results(self, output: str) -> dict[str, Any]:
        found = json.loads((self.folder / output / "results.json").read_text(encoding="utf-8"))
        return {name: value for name, value in found.items() if name != "seconds"}

    def metrics(self, output: str) -> list[dict[str, Any]]:
        lines = (self.folder / output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def ran(execute: Execute, flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("resume")
    wide = ("--vip.contextualizer.width", "32", "--vip.contextualizer.feedforward", "64")
    changing = ("--optimizer.schedule.name", "linear", "--optimizer.schedule.warmup-steps", "2")
    keeping = ("--optimizer.stopping.keep-best", "true", "--optimizer.stopping.metric", "nll")
    fixed = [*flags, *wide, *changing, *keeping, "--optimizer.steps", "6", "--checkpoint.every", "2"]
    (folder / "plan.json").write_text(json.dumps(jobs(fixed)), encoding="utf-8")
    script = Path(__file__).with_name("forks.py")
    run = execute("env", "-C", folder, sys.executable, script, folder / "plan.json", timeout=550, DS_ACCELERATOR="cpu")
    assert run.returncode == 0, run.stdout + run.stderr
    print(run.stdout)
    return Ran(folder, json.loads((folder / "statuses.json").read_text(encoding="utf-8")))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("engine", KILLED)
def test_a_killed_run_that_continues_equals_a_whole_one_bit_for_bit(engine: str, ran: Ran) -> None:
    assert ran.statuses[f"{engine}, whole"] == [0, 0], ran.said(f"{engine}, whole")
    assert ran.statuses[f"{engine}, killed"] == [-9, -9], ran.said(f"{engine}, killed")
    assert ran.statuses[f"{engine}, continued"] == [0, 0], ran.said(f"{engine}, continued")
    assert "continues after step 4" in ran.said(f"{engine}, continued")
    for name in ("adapter", "adapter-last"):
        assert equal(ran.adapter(engine, name), ran.adapter(f"{engine}, whole", name))
    assert ran.results(engine) == ran.results(f"{engine}, whole")
    assert ran.metrics(engine) == ran.metrics(f"{engine}, whole")
    assert [line["step"] for line in ran.metrics(engine)] == [3, 6]


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if name.endswith("self_attn.in_proj_bias"):  # see test_deepspeed.py
            continue
        # The automatic temperature is found by a search, which magnifies the rounding of the few vectors that there are here.
        # Once, on a machine with other work, ZeRO 3 was off by 1.1e-4.
        atol = 1e-3 if name.endswith("temperature") else 1e-5
        torch.testing.assert_close(value, other[name], rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("engine", ENGINES)
def test_all_stages_learn_the_same(engine: str, ran: Ran) -> None:
    close(ran.adapter(f"{engine}, whole"), ran.adapter("torch, whole"))


@pytest.mark.parametrize("engine", KILLED)
def test_a_checkpoint_is_whole_and_small_whoever_wrote_it(engine: str, ran: Ran) -> None:
    folder = ran.folder / f"{engine}, killed" / "step-00000004"
    held = 0
    for name in ("prompt.safetensors", "optimizer.safetensors", "best.safetensors"):
        found, expected = load_file(folder / name), load_file(ran.folder / "torch, killed" / "step-00000004" / name)
        assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in expected.items()}
        assert all(value.numel() for value in found.values())
        close(found, expected)
        held += sum(value.numel() * value.element_size() for value in found.values())
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1.2 * held


@pytest.mark.parametrize("name", ELASTIC)
def test_a_run_continues_on_other_processes_and_stages(name: str, ran: Ran) -> None:
    assert ran.statuses[f"{name}, continued"] == [0] * ELASTIC[name][1][1], ran.said(f"{name}, continued")
    assert "continues after step 4" in ran.said(f"{name}, continued")
    close(ran.adapter(name), ran.adapter("alone"))


def test_a_signal_to_one_process_stops_all_after_a_checkpoint(ran: Ran) -> None:
    assert ran.statuses["stop, stopped"] == [75, 75], ran.said("stop, stopped")
    assert "after step 5; the same command with --output stop continues" in ran.said("stop, stopped")
    assert "continues after step 5" in ran.said("stop, continued")
    assert equal(ran.adapter("stop"), ran.adapter("zero 2, whole"))
    assert ran.metrics("stop") == ran.metrics("zero 2, whole")
