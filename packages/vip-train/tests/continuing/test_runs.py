"""Runs that break off and go on in one process: what is left, what continues, what is refused. test_resume.py has several."""

import dataclasses
import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from vip_train.config import CheckpointConfig, EngineConfig, TrainConfig, parse, to_yaml
from vip_train.errors import UserError
from vip_train.runs import differences
from vip_train.trackers import TrackingConfig
from vip_train.training import train

Settings = Callable[..., TrainConfig]
Leavings = Callable[[Path], tuple[bytes, list[dict[str, Any]]]]


class Broken(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


def die() -> None:
    raise Broken


@pytest.fixture
def killed(config: TrainConfig, at: Callable[..., None]) -> Path:
    """The folder of a run that died in its sixth step, after a checkpoint of the fourth."""
    at(6, die)
    with pytest.raises(Broken):
        train(config)
    at(None)
    assert config.output is not None
    return config.output


def test_a_killed_run_leaves_its_checkpoints_settings_and_metrics(killed: Path, config: TrainConfig) -> None:
    assert {path.name for path in killed.iterdir()} == {"checkpoints", "config.yaml", "environment.json", "metrics.jsonl"}
    assert {path.name for path in (killed / "checkpoints").iterdir()} == {"step-00000002", "step-00000004"}
    assert (killed / "config.yaml").read_text(encoding="utf-8") == to_yaml(config)


def test_the_same_command_goes_on_and_ends_like_an_uninterrupted_run(
    killed: Path, config: TrainConfig, whole: Any, capsys: pytest.CaptureFixture[str], leavings: Leavings
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


def test_metrics_after_the_checkpoint_are_written_anew(
    killed: Path, config: TrainConfig, whole: Any, leavings: Leavings
) -> None:
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
    method: Any, optimizer: str, settings: Settings, at: Callable[..., None], tmp_path: Path, leavings: Leavings
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
    config: TrainConfig, at: Callable[..., None], whole: Any, tmp_path: Path, leavings: Leavings
) -> None:
    at(1, die)
    with pytest.raises(Broken):
        train(config)
    at(None)
    assert leavings(train(config)) == whole


def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_is_used(
    killed: Path, config: TrainConfig, whole: Any, capsys: pytest.CaptureFixture[str], leavings: Leavings
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
    config: TrainConfig, whole: Any, monkeypatch: pytest.MonkeyPatch, leavings: Leavings
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
    killed: Path, config: TrainConfig, whole: Any, monkeypatch: pytest.MonkeyPatch, leavings: Leavings
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
    killed: Path, config: TrainConfig, tiny_backbone: Path, tmp_path: Path, whole: Any, leavings: Leavings
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


def test_what_does_not_change_the_result_may_change(killed: Path, config: TrainConfig, whole: Any, leavings: Leavings) -> None:
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
