"""Two processes of plain torch, started by `torchrun`: a whole run, and an error that only one of them meets."""

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

RUN = Path(__file__).parent.parent / "run.py"
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
