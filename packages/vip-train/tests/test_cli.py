"""The commands as a user meets them: what they print, their exit status, and one line on stderr for every mistake."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train import load_adapter
from vip_train.cli import main
from vip_train.commands import COMMANDS, Command
from vip_train.errors import UserError

RUN = Path(__file__).parent.parent / "run.py"


def error_of(said: str) -> str:
    """The single line that was said."""
    (line,) = said.splitlines()
    assert line.startswith("vip-train: ")
    return line


def test_training_by_run_py_ends_with_a_summary(flags: list[str], execute: Callable[..., Any], tmp_path: Path) -> None:
    run = execute(sys.executable, "-W", "error", RUN, *flags, "--output", tmp_path / "run")
    assert run.returncode == 0, run.stderr
    summary = run.stdout.split("\n\n")[-1]
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    for line in (
        f"accuracy         {results['validation_accuracy']:.3f}   (a constant answer: {results['majority_accuracy']:.3f})",
        f"training loss    {results['train_nll']:.3f}   (a constant answer: {results['label_entropy']:.3f})",
        f"code perplexity  {results['validation_code_perplexity']:.1f}",
        f"bits on label    {results['validation_label_bits']:.4f} per prompt token",
        f"adapter          {tmp_path / 'run' / 'adapter'}",
    ):
        assert line in summary
    assert "bits on group" not in summary, "its examples are of no group"
    assert "Traceback" not in run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_an_error_of_run_py_is_one_line_and_status_two(flags: list[str], execute: Callable[..., Any], tmp_path: Path) -> None:
    run = execute(sys.executable, RUN, *flags, "--output", tmp_path / "run", "--backbone", tmp_path / "gone")
    assert run.returncode == 2
    assert str(tmp_path / "gone") in error_of(run.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_breaks_off_ends_with_its_reason_on_a_line_of_its_own(
    flags: list[str], execute: Callable[..., Any], tmp_path: Path
) -> None:
    rates = ("--optimizer.prompt-learning-rate", "1e30", "--optimizer.contextualizer-learning-rate", "1e30")
    run = execute(sys.executable, RUN, *flags, *rates, "--vip.method", "vip-c", "--output", tmp_path / "run")
    assert run.returncode == 2
    # Before it the progress bar has been drawn; carriage returns begin a line too.
    last = run.stderr.splitlines()[-1]
    assert last.startswith("vip-train: the loss is not finite at step 2: lower the learning rates; its batch is in ")
    assert "Traceback" not in run.stderr
    batch = tmp_path / "run" / "not-finite-step-00000002.json"
    assert last.endswith(str(batch))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "checkpoints",
        "config.yaml",
        "environment.json",
        batch.name,
    }


# --- in this process ---


@pytest.fixture
def failing(capfd: pytest.CaptureFixture[str], flags: list[str], tmp_path: Path) -> Callable[..., str]:
    """Runs `vip-train train` with further flags; returns the one line it fails with, and makes sure of all it must not do."""

    def fail(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        capfd.readouterr()
        status = main(["train", *flags, "--output", str(tmp_path / "out" / "run"), *map(str, arguments)])
        captured = capfd.readouterr()
        assert status == 2
        assert "Traceback" not in captured.out + captured.err
        left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
        assert [path for path in left if path != tmp_path / "out"] == []
        return error_of(captured.err)

    return fail


@pytest.fixture
def copied(data: Path, tmp_path: Path) -> Path:
    """A copy of the data to be broken: its training file."""
    return shutil.copytree(data, tmp_path / "data") / "CB" / "train.jsonl"


def test_a_missing_file_is_named(failing: Callable[..., str], tmp_path: Path) -> None:
    assert str(tmp_path / "no" / "CB" / "train.jsonl") in failing("--data-dir", tmp_path / "no")


def test_a_missing_validation_file_is_named(failing: Callable[..., str], copied: Path, tmp_path: Path) -> None:
    copied.with_name("val.jsonl").unlink()
    assert str(copied.with_name("val.jsonl")) in failing("--data-dir", tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"premise": "a", ', "is not JSON"),
        ('{"premise": "a", "hypothesis": "b", "label": "perhaps"}', "'perhaps'"),
        ('{"premise": "a", "label": "neutral"}', "'hypothesis'"),
        ('{"premise": 3, "hypothesis": "b", "label": "neutral"}', "'premise'"),
        ("[]", "list"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(
    line: str, named: str, failing: Callable[..., str], copied: Path, tmp_path: Path
) -> None:
    with copied.open("a", encoding="utf-8") as rows:
        rows.write(line + "\n")
    said = failing("--data-dir", tmp_path / "data")
    assert f"{copied}:31: " in said
    assert named in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--task", "superglue/xyz"), "superglue/xyz"),
        (("--precision", "fp16"), "precision=fp16"),
        (("--colour", "red"), "colour"),
        (("--optimizer.steps", "many"), "optimizer.steps"),
        (("--vip.quantizer.codes", "0"), "codes=0"),
        (("--backbone", "/nowhere/t5"), "/nowhere/t5"),
        (("--backbone", "nobody/no-such-t5"), "nobody/no-such-t5"),
        (("--config", "/nowhere/settings.yaml"), "/nowhere/settings.yaml"),
        (("--engine.name", "deepspeed", "--optimizer.name", "adafactor", "--engine.zero-stage", "4"), "engine.zero_stage=4"),
    ],
)
def test_a_wrong_setting_is_named(arguments: tuple[str, ...], named: str, failing: Callable[..., str]) -> None:
    assert named in failing(*arguments)


def test_an_unknown_key_of_yaml_is_named_by_file_and_key(failing: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("optimizer: {stepps: 3}", encoding="utf-8")
    said = failing("--config", path)
    assert str(path) in said
    assert "stepps" in said


def test_an_output_in_use_is_named_and_kept(failing: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert str(tmp_path / "mine") in failing("--output", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


def test_a_task_that_needs_the_hub_offline_is_named_with_the_way_out(
    capfd: pytest.CaptureFixture[str], tiny_backbone: Path, tmp_path: Path
) -> None:
    arguments = ["--task", "superglue/rte", "--backbone", str(tiny_backbone), "--output", str(tmp_path / "run")]
    assert main(["train", *arguments]) == 2
    said = error_of(capfd.readouterr().err)
    assert "superglue/rte" in said
    assert "--data-dir" in said


def test_a_finished_run_feeds_load_adapter_which_names_a_backbone_that_does_not_match(
    flags: list[str], tiny_backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [*flags, "--output", str(tmp_path / "run"), "--optimizer.steps", "1", "--local_rank=0"]
    assert main(["train", *arguments, "--engine.name", "torch"]) == 0
    assert "on several processes" not in capfd.readouterr().out, "the deepspeed command started it, so it knows"
    adapter = tmp_path / "run" / "adapter"
    assert load_adapter(adapter).config.backbone == str(tiny_backbone)
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(tiny_backbone, tmp_path / "other")
    state = load_file(other / "model.safetensors")
    state["shared.weight"][9, 9] += 1
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError) as caught:
        load_adapter(adapter, backbone=str(other))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(adapter) in message
    assert str(other) in message


def test_pretraining_is_a_command(corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shape = ["--shape.vocabulary=300", "--shape.sentinels=8", "--shape.width=32", "--shape.heads=2", "--shape.encoder-layers=1"]
    steps = ["--span-steps=1", "--prefix-steps=1", "--window=24", "--batch-size=2"]
    assert main(["pretrain", "--corpus", str(corpus), "--output", str(tmp_path / "new"), *shape, *steps]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == f"backbone {tmp_path / 'new'}"
    assert (tmp_path / "new" / "model.safetensors").is_file()


def test_a_mistake_in_pretraining_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--corpus", str(tmp_path / "no.xz"), "--output", str(tmp_path / "new")]) == 2
    assert str(tmp_path / "no.xz") in error_of(capfd.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_command_is_named_with_those_there_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    said = error_of(capfd.readouterr().err)
    for word in ("trian", "train", "pretrain"):
        assert word in said


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_usage_lists_the_commands(arguments: list[str], status: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == status
    said = capfd.readouterr().out
    assert said.startswith("usage: vip-train")
    assert "pretrain" in said


def test_arguments_come_from_the_command_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["vip-train", "nonsense"])
    assert main() == 2
    assert "nonsense" in error_of(capfd.readouterr().err)


def test_a_file_the_system_refuses_is_named(flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A name of 300 letters is too long for every file system there is."""
    assert main(["train", *flags, "--output", str(tmp_path / ("a" * 300))]) == 2
    assert "aaa: File name too long" in error_of(capfd.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_control_c_is_a_line_and_a_status(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "push", Command(interrupted, ""))
    assert main(["push"]) == 130
    assert error_of(capfd.readouterr().err) == "vip-train: interrupted"


@pytest.mark.parametrize(
    ("stdout", "status", "said"),
    [("/dev/full", 2, "vip-train: <stdout>: cannot be written: No space left on device\n"), ("&-", 0, "")],
)
def test_stdout_that_takes_nothing_is_no_traceback(stdout: str, status: int, said: str, execute: Callable[..., Any]) -> None:
    run = execute("bash", "-c", f"{sys.executable} -m vip_train.cli --help >{stdout}", PYTHONUNBUFFERED="")
    assert (run.returncode, run.stderr) == (status, said)


def test_a_reader_that_is_gone_is_a_status(execute: Callable[..., Any], tmp_path: Path) -> None:
    # The fifo's reader is this shell itself, which closes it before anything is written.
    os.mkfifo(tmp_path / "fifo")
    script = f"exec 3<>{tmp_path}/fifo 4>{tmp_path}/fifo 3<&-; {sys.executable} -m vip_train.cli --help >&4"
    run = execute("bash", "-c", script, PYTHONUNBUFFERED="")
    assert (run.returncode, run.stderr) == (141, "")
