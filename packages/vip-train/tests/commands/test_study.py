"""Whole studies as a user starts them."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from vip_train.cli import main
from vip_train.commands.flags import divide
from vip_train.commands.study import StudyConfig
from vip_train.config import parse
from vip_train.study.running import devices

COMMAND = [sys.executable, "-m", "vip_train.cli", "study"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes study.yaml of PT, seeds 0 and 1, on a CB of 30 rows, into an empty folder that it makes the current one."""
    monkeypatch.chdir(tmp_path)

    def write(**values: Any) -> Path:
        plain: dict[str, Any] = {"methods": {"PT": {"vip.method": "pt"}}, "tasks": ["superglue/cb"], "seeds": [0, 1]}
        (path := tmp_path / "study.yaml").write_text(yaml.safe_dump(plain | values), encoding="utf-8")
        return path

    return write


@pytest.fixture
def settings_of_runs(data: Path, tiny_backbone: Path) -> list[str]:
    steps = ["--optimizer.steps", "2", "--optimizer.batch-size", "8", "--vip.prompt-length", "2"]
    return ["--data-dir", str(data), "--backbone", str(tiny_backbone), *steps]


def test_a_study_ends_in_a_table_and_goes_on_where_it_stopped(
    small: Callable[..., Path], settings_of_runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    methods = {"PT": {"vip.method": "pt"}, "lost": {"vip.method": "pt", "backbone": "gone"}}
    small(methods=methods, baseline="PT", seeds=[0])
    flags = ["study", "study.yaml", *settings_of_runs, "--workers", "2"]
    assert main(flags) == 2
    said = capsys.readouterr()
    assert "2 runs, 0 of them finished; in studies/study" in said.out
    assert said.err.splitlines()[-1].startswith("vip-train: superglue/cb, lost, seed 0: gone: cannot be loaded")
    assert "(see studies/study/logs/superglue-cb/lost/seed-0.log)" in said.err
    table = Path("studies/study/table.md").read_text(encoding="utf-8")
    assert "1 of 2 runs are finished" in table
    results = json.loads(Path("studies/study/runs/superglue-cb/PT/seed-0/results.json").read_text(encoding="utf-8"))

    small(baseline="PT", seeds=[0, 1])
    before = Path("studies/study/runs/superglue-cb/PT/seed-0/results.json").stat().st_mtime_ns
    assert main(flags) == 0
    assert "2 runs, 1 of them finished" in capsys.readouterr().out
    assert Path("studies/study/runs/superglue-cb/PT/seed-0/results.json").stat().st_mtime_ns == before
    with Path("studies/study/runs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["method"], row["seed"]) for row in rows] == [("superglue/cb", "PT", str(seed)) for seed in (0, 1)]
    assert float(rows[0]["validation_accuracy"]) == results["validation_accuracy"]
    assert "2 of 2 runs are finished" in Path("studies/study/table.md").read_text(encoding="utf-8")


def test_a_signal_stops_the_runs_with_checkpoints_and_the_same_command_goes_on(
    small: Callable[..., Path], settings_of_runs: list[str]
) -> None:
    small(seeds=[0])
    many = ["--optimizer.steps", "1000", "--optimizer.evaluate-every", "1000", "--checkpoint.every", "7"]
    flags = ["study.yaml", *settings_of_runs, *many, "--output", "there"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = Path("there/runs/superglue-cb/PT/seed-0")
    with subprocess.Popen([*COMMAND, *flags], env=environment, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 120
        while not list(run.glob("checkpoints/step-*")):
            assert time.monotonic() < until
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, complained = process.communicate(timeout=120)
    assert process.returncode == 75
    assert complained.splitlines()[-1] == "vip-train: stopped by SIGTERM; the same command continues the study"
    reached = max(int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*"))
    assert not (run / "results.json").exists()
    assert main(["study", *flags]) == 0
    assert f"continues after step {reached}" in Path("there/logs/superglue-cb/PT/seed-0.log").read_text(encoding="utf-8")
    assert json.loads((run / "results.json").read_text(encoding="utf-8"))["step"] == 1000


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["gone.yaml"], "gone.yaml: no such file"),
        ([], "study"),
        (["study.yaml", "--workers", "0"], "workers=0 must be at least 1"),
        (["study.yaml", "--optimizer.stepz", "3"], "study.yaml: superglue/cb, PT: "),
        (["study.yaml", "--workers", "1", "other.yaml"], "other.yaml"),
        (["--workers", "1", "-x", "study.yaml"], "-x"),
        (["--output", "there", "--study", "study.yaml", "--vip.method", "y"], "superglue/cb, PT: "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    small: Callable[..., Path], flags: list[str], reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small(methods={"PT": {"vip.prompt_length": 3}})
    assert main(["study", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_finished_runs_of_other_settings_are_refused(
    small: Callable[..., Path], settings_of_runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    small(seeds=[0])
    assert main(["study", "study.yaml", *settings_of_runs]) == 0
    assert main(["study", "study.yaml", *settings_of_runs, "--vip.prompt-length", "3"]) == 2
    assert "is a finished run with vip.prompt_length=2, it cannot go on with vip.prompt_length=3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.yaml", "--workers", "1", "--optimizer.clip-norm", "-1", "--task=b"],
        ["--workers", "1", "a.yaml", "--optimizer.clip-norm", "-1", "--task=b"],
        ["--optimizer.clip-norm", "-1", "--task=b", "--workers=1", "a.yaml"],
        ["--optimizer.clip-norm", "-1", "a.yaml", "--task=b", "--workers", "1"],
    ],
)
def test_the_file_may_stand_anywhere(arguments: list[str]) -> None:
    own, others = divide(StudyConfig, arguments, first="--study")
    assert parse(StudyConfig, own, prog="vip-train study") == StudyConfig(study=Path("a.yaml"), workers=1)
    assert others == ["--optimizer.clip-norm", "-1", "--task=b"]


@pytest.mark.parametrize(
    ("given", "names"), [(None, ["0", "1", "0"]), ("2,3", ["2", "3", "2"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b", "GPU-a"])]
)
def test_workers_have_the_gpus_the_study_was_given(
    given: str | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert devices(3) == names
    assert devices(None) == names[:2]


def test_without_a_gpu_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert (devices(None), devices(2)) == ([""], ["", ""])


def test_a_candidate_that_fails_does_not_end_the_study(
    small: Callable[..., Path], settings_of_runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    backbones = {"PT": {"vip.method": "pt", "backbone": ["gone", settings_of_runs[3]]}}
    small(methods=backbones, seeds=[0], search_seeds=[9])
    del settings_of_runs[2:4]
    assert main(["study", "study.yaml", *settings_of_runs]) == 0
    said = capsys.readouterr()
    assert "gone: cannot be loaded" in said.out
    assert "1 of 1 runs are finished" in Path("studies/study/table.md").read_text(encoding="utf-8")
    small(methods={"PT": {"vip.method": "pt", "backbone": ["gone", "lost"]}}, seeds=[0], search_seeds=[9])
    assert main(["study", "study.yaml", *settings_of_runs, "--output", "none"]) == 2
    assert "; the same command tries again" in capsys.readouterr().err.splitlines()[-1]


def test_a_study_searches_first_and_its_runs_have_what_was_found(
    small: Callable[..., Path], settings_of_runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    small(methods={"PT": {"vip.method": "pt", "optimizer.prompt_learning_rate": [0.0, 0.3]}}, seeds=[0], search_seeds=[9])
    flags = ["study", "study.yaml", *settings_of_runs]
    assert main(flags) == 0
    assert "search: 2 runs, 0 of them finished; in studies/study\n1 runs, 0 of them" in capsys.readouterr().out
    folder = Path("studies/study")
    scores = {}
    for path in folder.glob("search/superglue-cb/PT/*/seed-9"):
        found = json.loads((path / "results.json").read_text(encoding="utf-8"))
        scores[float(path.parent.name.partition("=")[2])] = (found["validation_accuracy"], -found["validation_nll"])
    used = yaml.safe_load((folder / "runs/superglue-cb/PT/seed-0/config.yaml").read_text(encoding="utf-8"))["optimizer"]
    assert scores.keys() == {0.0, 0.3}
    assert used["prompt_learning_rate"] == max(scores, key=scores.__getitem__)
    assert "**optimizer.prompt_learning_rate=" in (folder / "table.md").read_text(encoding="utf-8")
    assert main(flags) == 0
    assert capsys.readouterr().out.startswith("1 runs, 1 of them finished")
