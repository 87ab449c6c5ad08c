"""Two processes of plain torch, started by `torchrun`: a whole run, and what ends one of them."""

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

RUN = Path(__file__).parent.parent / "run.py"
VICTIM = Path(__file__).with_name("victim.py")
Execute = Callable[..., CompletedProcess[str]]


def torchrun(execute: Execute, *arguments: object) -> CompletedProcess[str]:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)
    return execute(*launcher, *arguments, timeout=500)  # a limit, because collectives wait for ever


def test_a_run_leaves_an_adapter(execute: Execute, flags: list[str], check_run: Callable[[Path], None], tmp_path: Path) -> None:
    run = torchrun(execute, RUN, *flags, "--output", tmp_path / "run")
    assert run.returncode == 0, run.stdout + run.stderr
    check_run(tmp_path / "run")
    assert run.stdout.count("torch, 2 processes on cpu") == 1
    assert run.stdout.count(f"adapter          {tmp_path / 'run' / 'adapter'}") == 1, "one process prints"


def test_an_error_of_the_first_process_alone_ends_the_others(execute: Execute, flags: list[str], tmp_path: Path) -> None:
    """Only the first process looks at the output folder; the others must not wait for it."""
    (tmp_path / "thesis.txt").write_text("mine")
    run = torchrun(execute, RUN, *flags, "--output", tmp_path)
    assert run.returncode != 0
    assert f"vip-train: {tmp_path}: already holds files" in run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt"}


def test_a_killed_process_ends_the_run_with_a_reason_and_it_continues(
    execute: Execute, flags: list[str], check_run: Callable[[Path], None], tmp_path: Path
) -> None:
    output = (*flags, "--checkpoint.every", 1, "--output", tmp_path / "run")
    run = torchrun(execute, VICTIM, "die", *output)
    assert run.returncode != 0
    assert "Signal 9 (SIGKILL) received" in run.stderr, "the launcher says which process died of what"
    assert "vip-train: process 0 lost another process" in run.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoints", "config.yaml", "environment.json"}
    run = torchrun(execute, RUN, *output)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "continues after step 2" in run.stdout
    check_run(tmp_path / "run")


def test_a_preempted_launcher_lets_the_processes_save(execute: Execute, flags: list[str], tmp_path: Path) -> None:
    run = torchrun(execute, VICTIM, "preempt", *flags, "--output", tmp_path / "run")
    assert run.returncode != 0
    found = [line for line in run.stderr.splitlines() if line.startswith("vip-train: stopped by SIGTERM after step ")]
    assert len(found) == 1, run.stderr
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert checkpoint.name == f"step-{int(found[0].split()[6].rstrip(';')):08d}"
