"""Faults of runs in one process: signals, losses that are not finite, interruptions, full disks."""

import dataclasses
import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.cli import main
from vip_train.config import CheckpointConfig, TrainConfig
from vip_train.errors import Stopped, UserError
from vip_train.training import train

Settings = Callable[..., TrainConfig]
Leavings = Callable[[Path], tuple[bytes, list[dict[str, Any]]]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_after_its_step_and_the_run_goes_on(
    number: signal.Signals, config: TrainConfig, at: Callable[..., None], whole: Any, leavings: Leavings
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


def test_a_signal_in_the_last_step_changes_nothing(
    config: TrainConfig, at: Callable[..., None], whole: Any, leavings: Leavings
) -> None:
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
    config: TrainConfig, whole: Any, monkeypatch: pytest.MonkeyPatch, leavings: Leavings
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("vip_train.training.evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert leavings(train(config)) == whole


def test_a_full_disk_ends_the_run_in_one_line_and_space_continues_it(
    config: TrainConfig, whole: Any, at: Callable[..., None], monkeypatch: pytest.MonkeyPatch, leavings: Leavings
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
