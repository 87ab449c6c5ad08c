"""Runs that break off and go on in one process: what is left, what continues, what is refused. test_resume.py has several."""

import dataclasses
import errno
import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from vip_train.cli import main
from vip_train.config import CheckpointConfig, EngineConfig, TrainConfig, parse, to_yaml
from vip_train.data import Batch
from vip_train.errors import Stopped, UserError
from vip_train.loader import Loader
from vip_train.runs import differences
from vip_train.trackers import TrackingConfig
from vip_train.training import train

Settings = Callable[..., TrainConfig]


class Broken(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has something done when a step begins; nothing again once that step is None."""
    real = Loader.batch

    def act(step: int | None, what: Callable[[], None] = lambda: None) -> None:
        def batch(self: Loader, now: int) -> Batch:
            if now == step:
                what()
            return real(self, now)

        monkeypatch.setattr(Loader, "batch", batch)

    return act


def die() -> None:
    raise Broken


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> TrainConfig:
    """Nine steps, evaluated every third, saved every second."""
    checkpoint = CheckpointConfig(every=2, keep=2)
    return settings(output=tmp_path / "run", steps=9, evaluate_every=3, checkpoint=checkpoint)


@pytest.fixture
def killed(config: TrainConfig, at: Callable[..., None]) -> Path:
    """The folder of a run that died in its sixth step, after a checkpoint of the fourth."""
    at(6, die)
    with pytest.raises(Broken):
        train(config)
    at(None)
    assert config.output is not None
    return config.output


def leavings(folder: Path) -> tuple[bytes, list[dict[str, Any]]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["seconds"]
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes(), lines


@pytest.fixture
def whole(config: TrainConfig, tmp_path: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """What the run leaves when nothing happens to it."""
    return leavings(train(dataclasses.replace(config, output=tmp_path / "whole")))


def test_a_killed_run_leaves_its_checkpoints_settings_and_metrics(killed: Path, config: TrainConfig) -> None:
    assert {path.name for path in killed.iterdir()} == {"checkpoints", "config.yaml", "environment.json", "metrics.jsonl"}
    assert {path.name for path in (killed / "checkpoints").iterdir()} == {"step-00000002", "step-00000004"}
    assert (killed / "config.yaml").read_text(encoding="utf-8") == to_yaml(config)


def test_the_same_command_goes_on_and_ends_like_an_uninterrupted_run(
    killed: Path, config: TrainConfig, whole: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with (killed / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 6, "seco')  # torn by the kill
    train(config)
    assert "continues after step 4" in capsys.readouterr().out
    assert leavings(killed) == whole
    assert {path.name for path in killed.iterdir()} == {
        "adapter",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "results.json",
    }


def test_metrics_after_the_checkpoint_are_written_anew(killed: Path, config: TrainConfig, whole: Any) -> None:
    with (killed / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 6, "seconds": 1}\n')
    train(config)
    assert leavings(killed) == whole


@pytest.mark.parametrize("line", ["torn", "3", '{"steps": 1}', '{"step": "x"}'])
def test_a_damaged_line_of_the_metrics_is_named(killed: Path, config: TrainConfig, line: str) -> None:
    path = killed / "metrics.jsonl"
    before = f"{line}\n{path.read_text(encoding='utf-8')}"
    path.write_text(before, encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.jsonl:1: is no line of metrics"):
        train(config)
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("method", ["vip", "vip-c", "vip-q", "pt"])
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_every_method_and_optimizer_goes_on(
    method: Any, optimizer: str, settings: Settings, at: Callable[..., None], tmp_path: Path
) -> None:
    def run(name: str) -> Path:
        config = settings(output=tmp_path / name, steps=4, name=optimizer, checkpoint=CheckpointConfig(every=1))
        return train(dataclasses.replace(config, vip=dataclasses.replace(config.vip, method=method)))

    run("whole")
    at(4, die)
    with pytest.raises(Broken):
        run("killed")
    at(None)
    assert leavings(run("killed")) == leavings(tmp_path / "whole")


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    config: TrainConfig, at: Callable[..., None], whole: Any, tmp_path: Path
) -> None:
    at(1, die)
    with pytest.raises(Broken):
        train(config)
    at(None)
    assert leavings(train(config)) == whole


def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_is_used(
    killed: Path, config: TrainConfig, whole: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (killed / "checkpoints" / "step-00000004" / "optimizer.safetensors").write_bytes(b"")
    train(config)
    said = capsys.readouterr().out
    assert "step-00000004: optimizer.safetensors is not the file that was written" in said
    assert "continues after step 2" in said
    assert leavings(killed) == whole


def test_nothing_frozen_is_in_a_checkpoint(killed: Path) -> None:
    adapter = {
        *("prompt_PD", "contextualizer.scale", "quantizer.codebook.code_KD", "quantizer.codebook.count_K"),
        *("quantizer.codebook.sum_KD", "quantizer.codebook.temperature", "quantizer.codebook.steps"),
    }
    found = set(load_file(killed / "checkpoints" / "step-00000004" / "prompt.safetensors"))
    assert adapter <= found
    assert all(name.startswith(("prompt_PD", "contextualizer.", "quantizer.")) for name in found)
    optimizer = set(load_file(killed / "checkpoints" / "step-00000004" / "optimizer.safetensors"))
    trained = {name for name in found if not name.startswith("quantizer.") and name != "contextualizer.scale"}
    assert optimizer == {f"{key}/{name}" for key in ("step", "exp_avg", "exp_avg_sq") for name in trained}


# --- what is refused ---


def refusal(config: TrainConfig) -> str:
    """The one line; makes sure that the run stays as it was."""
    assert config.output is not None
    before = {path: path.read_bytes() for path in config.output.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as caught:
        train(config)
    assert {path: path.read_bytes() for path in config.output.rglob("*") if path.is_file()} == before
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_finished_run_is_refused(config: TrainConfig) -> None:
    train(config)
    assert refusal(config).endswith("already holds files of a finished run; choose another folder or remove it")


def test_a_run_killed_as_it_wrote_its_adapter_leaves_no_half_of_it(
    config: TrainConfig, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands for a kill: the temporary folder stays."""
    assert config.output is not None
    with monkeypatch.context() as patched:
        patched.setattr("vip_train.adapter.save_file", lambda *_: die())
        patched.setattr("vip_train.files.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(Broken):
            train(config)
    assert len(list(config.output.glob(".adapter.*"))) == 1
    assert leavings(train(config)) == whole
    assert {path.name for path in config.output.iterdir()} == {
        "adapter",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "results.json",
    }


def test_a_file_system_without_locks_will_do(
    killed: Path, config: TrainConfig, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert leavings(train(config)) == whole


def test_other_settings_are_refused_by_key(killed: Path, config: TrainConfig) -> None:
    other = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, prompt_learning_rate=0.2))
    assert "optimizer.prompt_learning_rate=0.03, it cannot go on with optimizer.prompt_learning_rate=0.2" in refusal(other)
    other = dataclasses.replace(config, vip=dataclasses.replace(config.vip, prompt_length=4))
    assert "vip.prompt_length=3" in refusal(other)


def test_a_run_of_a_release_without_a_setting_is_refused_as_that(killed: Path, config: TrainConfig) -> None:
    before = yaml.safe_load((killed / "config.yaml").read_text(encoding="utf-8"))
    del before["optimizer"]["stopping"]
    (killed / "config.yaml").write_text(yaml.safe_dump(before), encoding="utf-8")
    assert "holds a run of an earlier release, without optimizer.stopping; choose another folder" in refusal(config)


def test_another_backbone_is_refused_whatever_its_name(
    killed: Path, config: TrainConfig, tiny_backbone: Path, tmp_path: Path, whole: Any
) -> None:
    moved = Path(shutil.copytree(tiny_backbone, tmp_path / "copy"))
    from safetensors.torch import save_file

    weights = load_file(moved / "model.safetensors")
    next(iter(weights.values())).add_(1)
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    other = dataclasses.replace(config, backbone=str(moved))
    assert "none of its 2 checkpoints can be used" in refusal(other)
    shutil.copy(tiny_backbone / "model.safetensors", moved)
    assert leavings(train(other)) == whole, "the same one may lie elsewhere"


def test_other_data_is_refused(
    killed: Path, config: TrainConfig, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    rows = (moved / "CB" / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (moved / "CB" / "train.jsonl").write_text("".join(rows[::-1]), encoding="utf-8")
    assert "none of its 2 checkpoints can be used" in refusal(dataclasses.replace(config, data_dir=moved))
    assert f"data_dir={moved}: the examples are not those the run began with" in capsys.readouterr().out


def test_what_does_not_change_the_result_may_change(killed: Path, config: TrainConfig, whole: Any) -> None:
    other = dataclasses.replace(
        config,
        engine=EngineConfig(zero_stage=0),
        checkpoint=CheckpointConfig(every=1, keep=1),
        tracking=TrackingConfig(project="mine"),
    )
    assert leavings(train(other)) == whole
    assert parse(TrainConfig, ["--config", str(killed / "config.yaml")], prog="train") == other


def test_a_run_in_progress_is_refused(killed: Path, config: TrainConfig) -> None:
    handle = os.open(killed / "checkpoints", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert "another process trains in it" in refusal(config)
    finally:
        os.close(handle)


def test_differences_are_named_by_dotted_keys() -> None:
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}) == {
        "a.c": (2, 4),
        "d": (3, None),
        "e": (None, 5),
    }


# --- faults ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_after_its_step_and_the_run_goes_on(
    number: signal.Signals, config: TrainConfig, at: Callable[..., None], whole: Any
) -> None:
    at(5, lambda: signal.raise_signal(number))
    with pytest.raises(Stopped, match=f"stopped by {number.name} after step 5; the same command with --output .* continues"):
        train(config)
    at(None)
    assert config.output is not None
    assert [path.name for path in sorted((config.output / "checkpoints").iterdir())] == ["step-00000004", "step-00000005"]
    assert leavings(train(config)) == whole


def test_a_stopped_command_ends_with_status_75(
    flags: list[str], at: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at(3, lambda: signal.raise_signal(signal.SIGTERM))
    assert main(["train", *flags, "--output", str(tmp_path / "run")]) == 75
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"vip-train: stopped by SIGTERM after step 3; the same command with --output {tmp_path / 'run'} continues"


def test_a_signal_in_the_last_step_changes_nothing(config: TrainConfig, at: Callable[..., None], whole: Any) -> None:
    at(9, lambda: signal.raise_signal(signal.SIGTERM))
    assert leavings(train(config)) == whole


@pytest.mark.parametrize("warmup_steps", [0, 9])
@pytest.mark.parametrize("method", ["vip", "vip-c"])
def test_a_loss_that_is_not_finite_stops_and_sets_its_batch_aside(
    method: Any, warmup_steps: int, settings: Settings, tmp_path: Path
) -> None:
    rates = {"prompt_learning_rate": 1e30, "contextualizer_learning_rate": 1e30}
    config = settings(output=tmp_path / "run", steps=8, evaluate_every=4, checkpoint=CheckpointConfig(every=1), **rates)
    quantizer = dataclasses.replace(config.vip.quantizer, warmup_steps=warmup_steps)
    config = dataclasses.replace(config, vip=dataclasses.replace(config.vip, method=method, quantizer=quantizer))
    with pytest.raises(
        UserError, match=r"^the loss is not finite at step 2: lower the learning rates; its batch is in "
    ) as caught:
        train(config)
    path = tmp_path / "run" / "not-finite-step-00000002.json"
    assert str(caught.value).endswith(str(path))
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["step"], len(found["batch"])) == (2, 8)
    row = found["batch"][0]
    assert row["target"] in ("true", "false", "neither")
    assert len(row["source_ids"]) > len(row["target_ids"]) > 0
    assert any(isinstance(row["nll"], str) for row in found["batch"]), "nan and inf as text, or no JSON reader takes it"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_last_step_that_breaks_the_prompt_is_refused(settings: Settings, tmp_path: Path) -> None:
    """The loss of that step is still finite; what would be saved afterwards is useless."""
    rates = {"prompt_learning_rate": 1e30, "contextualizer_learning_rate": 1e30}
    with pytest.raises(UserError, match="the validation loss is not finite after step 1: lower the learning rates"):
        train(settings(output=tmp_path / "run", steps=1, evaluate_every=1, **rates))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoints", "config.yaml", "environment.json"}


def test_an_interruption_that_is_no_signal_leaves_the_last_checkpoint(
    config: TrainConfig, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("vip_train.training.evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert leavings(train(config)) == whole


def test_a_full_disk_ends_the_run_in_one_line_and_space_continues_it(
    config: TrainConfig, whole: Any, at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    at(4, lambda: monkeypatch.setattr(os, "fsync", full))
    with pytest.raises(UserError, match=r"step-00000004: cannot be written: No space left on device; older .*: step-00000002"):
        train(config)
    at(None)
    monkeypatch.setattr(os, "fsync", real)
    assert leavings(train(config)) == whole
