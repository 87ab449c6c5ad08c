"""The test split, scored once after training with the prompt that is kept."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from vip_train.adapter import WEIGHTS_FILE
from vip_train.cli import main
from vip_train.config import TrainConfig
from vip_train.errors import UserError
from vip_train.final_test import FinalTest
from vip_train.splits import sample
from vip_train.stopping import StoppingConfig
from vip_train.tasks import TASKS, TextTask
from vip_train.training import train

Settings = Callable[..., TrainConfig]
BOTH = "suite/mood+suite/mood-new:0"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite's splits are large for a test."""
    whole = TextTask.load
    monkeypatch.setattr(TextTask, "load", lambda *given: sample(whole(*given), 40))


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> TrainConfig:
    plain = settings(output=tmp_path / "run", steps=4, evaluate_every=1, stopping=StoppingConfig(keep_best=True))
    return dataclasses.replace(plain, task="suite/mood", data_dir=None, test_task=BOTH)


def results(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def test_it_is_what_evaluate_finds_for_the_adapter_that_is_kept(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(config)
    capsys.readouterr()
    assert main(["evaluate", "--adapter", str(folder / "adapter"), "--task", BOTH, "--split", "test", "--json", "true"]) == 0
    found, ours = json.loads(capsys.readouterr().out), results(folder)
    shared = {name for name in found if name.startswith("test_")} - {"test_mean"}
    assert {"test_accuracy/suite/mood", "test_accuracy/suite/mood-new", "test_nll"} <= shared
    assert {name: ours[name] for name in shared} == {name: found[name] for name in shared}
    assert ours["test_constant_accuracy/suite/mood"] == found["constant_accuracy/suite/mood"]
    assert "test_mean" not in ours


def test_what_was_trained_on_is_seen_and_all_else_is_not(config: TrainConfig) -> None:
    ours = results(train(config))
    assert ours["test_seen"] == ours["test_accuracy/suite/mood"]
    assert ours["test_unseen"] == ours["test_accuracy/suite/mood-new"]
    assert ours["test_constant_seen"] == ours["test_constant_accuracy/suite/mood"]


@pytest.mark.parametrize(
    ("task", "test", "seen"),
    [
        ("suite/mood", "suite/mood", {"": True}),
        ("suite/mood", "suite/mood-new", {"": False}),
        ("suite/mood+suite/nli", "suite/nli+suite/nli-new:0", {"suite/nli": True, "suite/nli-new": False}),
        ("suite/mood+suite/nli:0", "suite/mood+suite/nli", {"suite/mood": True, "suite/nli": False}),
    ],
)
def test_seen_is_what_has_a_weight_in_training(task: str, test: str, seen: dict[str, bool]) -> None:
    assert FinalTest(TrainConfig(task=task, test_task=test))._is_seen == seen


def test_the_last_prompt_stays_what_it_was(config: TrainConfig) -> None:
    one = train(config)
    other = train(dataclasses.replace(config, test_task="", output=config.output and config.output.with_name("other")))
    for name in ("adapter", "adapter-last"):
        assert (one / name / WEIGHTS_FILE).read_bytes() == (other / name / WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize(("task", "reason"), [("suite/moods", "is unknown"), ("superglue/cb", "has no test split")])
def test_what_cannot_be_tested_is_said_before_training(config: TrainConfig, task: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        train(dataclasses.replace(config, test_task=task))
    assert config.output is not None
    assert not config.output.exists()


def test_all_methods_are_tested_alike(config: TrainConfig) -> None:
    whole = dataclasses.replace(config, full_fine_tuning=True, test_task="suite/mood")
    ours = results(train(whole))
    assert ours["test_seen"] == ours["test_accuracy"]
    assert main(["evaluate", "--adapter", str(config.output), "--task", TASKS["suite/mood"].name]) == 2
