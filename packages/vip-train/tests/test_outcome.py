"""Whole runs that keep the best prompt and end early: what they leave, and that kills anywhere change nothing."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from vip_train import training
from vip_train.adapter import load_adapter
from vip_train.backbones import Backbone
from vip_train.cli import main
from vip_train.config import CheckpointConfig, TrainConfig
from vip_train.data import Batch
from vip_train.errors import UserError
from vip_train.evaluation import Evaluation, evaluate
from vip_train.loader import Loader
from vip_train.schedule import ScheduleConfig
from vip_train.scoring import Scoring
from vip_train.stopping import StoppingConfig
from vip_train.tasks import get_task
from vip_train.tokenised import TokenisedSplit
from vip_train.training import train
from vip_train.world import World

FILES = {"adapter", "config.yaml", "environment.json", "metrics.jsonl", "results.json"}
Settings = Callable[..., TrainConfig]


class Broken(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


def die(*_: object, **__: object) -> None:
    raise Broken


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> TrainConfig:
    """Nine steps, evaluated every second and after the last, saved every third, stopped after four without a better one."""
    stopping = StoppingConfig(metric="nll", patience=4)
    schedule = ScheduleConfig(name="linear", warmup_steps=2)
    return settings(
        output=tmp_path / "run",
        steps=9,
        evaluate_every=2,
        checkpoint=CheckpointConfig(every=3),
        stopping=stopping,
        schedule=schedule,
    )


@pytest.fixture
def nlls(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes evaluations find losses of our choice, by step."""

    def choose(**values: float) -> None:
        def chosen(self: Any, bar: Any) -> bool:
            def found(*arguments: Any, **more: Any) -> Evaluation:
                return evaluate(*arguments, **more)._replace(nll=values[f"at_{self.step}"])

            with monkeypatch.context() as patched:
                patched.setattr(training, "evaluate", found)
                return real(self, bar)

        real = training._Run._evaluate
        monkeypatch.setattr(training._Run, "_evaluate", chosen)

    return choose


def weights(folder: Path, name: str = "adapter") -> bytes:
    return (folder / name / "adapter_model.safetensors").read_bytes()


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def leavings(folder: Path) -> Any:
    """All that two equal runs have in common."""
    timeless = [{name: value for name, value in line.items() if name != "seconds"} for line in metrics(folder)]
    final = {name: value for name, value in results(folder).items() if name != "seconds"}
    return weights(folder), weights(folder, "adapter-last"), timeless, final


def test_without_it_the_last_prompt_is_the_adapter_and_there_is_no_other(settings: Settings, tmp_path: Path) -> None:
    train(settings(output=tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    found = results(tmp_path / "run")
    assert (found["step"], found["last_step"], found["stopped_early"]) == (4, 4, False)


def test_the_run_ends_when_patience_is_out_with_the_best_and_the_last(
    config: TrainConfig, nlls: Callable[..., None], tmp_path: Path, backbone: Backbone, data: Path
) -> None:
    nlls(at_2=3.0, at_4=2.0, at_6=2.0, at_8=2.5)
    run = train(config)
    assert {path.name for path in run.iterdir()} == FILES | {"adapter-last"}
    assert [line["step"] for line in metrics(run)] == [2, 4, 6, 8]
    found = results(run)
    assert (found["step"], found["last_step"], found["stopped_early"]) == (4, 8, True)
    assert found["validation_nll"] == 2.0

    def prompt_after(steps: int) -> bytes:
        """Of a run that nothing stops and that takes the same steps, whose rates are those of nine."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ScheduleConfig, "factor", lambda self, step, _: real(self, step, 9))
            optimizer = dataclasses.replace(config.optimizer, steps=steps, stopping=StoppingConfig())
            other = dataclasses.replace(config, optimizer=optimizer, output=tmp_path / str(steps))
            nlls(**{f"at_{step}": 1.0 for step in range(9)})
            return weights(train(other))

    real = ScheduleConfig.factor
    assert weights(run) == prompt_after(4)
    assert weights(run, "adapter-last") == prompt_after(8)


def test_the_best_adapter_scores_what_results_say(
    config: TrainConfig, backbone: Backbone, data: Path, nlls: Callable[..., None]
) -> None:
    nlls(at_2=3.0, at_4=2.0, at_6=2.1, at_8=2.1)
    run = train(config)
    for name, step in (("adapter", 4), ("adapter-last", 8)):
        adapter = load_adapter(run / name, backbone=backbone)
        validation = TokenisedSplit(get_task(config.task).load("validation", data), adapter.tokenizer, 480)
        alone = World(rank=0, size=1, device=torch.device("cpu"))
        again = evaluate(adapter.model, validation, Scoring.of(get_task(config.task)), adapter.tokenizer, alone).record()
        (line,) = (line for line in metrics(run) if line["step"] == step)
        assert line["validation_accuracy"] == again["accuracy"]
        assert line["validation_input_bits"] == again["input_bits"]
        card = (run / name / "README.md").read_text(encoding="utf-8")
        assert f"| step | {step} |" in card
        assert "| last_step | 8 |" in card
        assert {path.name for path in (run / name).iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
            "README.md",
        }
        names = set(load_file(run / name / "adapter_model.safetensors"))
        assert names == set(adapter.model.prompt.state_dict()), "nothing frozen"


@pytest.mark.parametrize("step", range(1, 9))
def test_a_run_killed_in_any_step_decides_and_ends_as_a_whole_one(
    step: int, config: TrainConfig, nlls: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best is of step 4; checkpoints are of steps 3 and 6."""
    nlls(at_2=3.0, at_4=2.0, at_6=2.0, at_8=2.5)
    whole = leavings(train(dataclasses.replace(config, output=tmp_path / "whole")))
    real = Loader.batch

    def batch(self: Loader, now: int) -> Batch:
        return die() if now == step else real(self, now)  # type: ignore[func-returns-value, return-value]

    with monkeypatch.context() as patched:
        patched.setattr(Loader, "batch", batch)
        with pytest.raises(Broken):
            train(config)
    run = train(config)
    assert leavings(run) == whole
    assert {path.name for path in run.iterdir()} == FILES | {"adapter-last"}
    entries = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    from_checkpoint = (step - 1) // 3 * 3
    assert [entry["after_step"] for entry in entries] == [0, from_checkpoint][: 2 if from_checkpoint else 1]


@pytest.mark.parametrize("which", range(3))
def test_a_run_killed_as_it_wrote_its_adapters_writes_them_whole(
    which: int, config: TrainConfig, nlls: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first adapter, in the second, and before the results. The temporary folder of a killed process stays."""
    nlls(at_2=3.0, at_4=2.0, at_6=2.0, at_8=2.5)
    whole = leavings(train(dataclasses.replace(config, output=tmp_path / "whole")))
    from safetensors.torch import save_file

    calls = iter(range(9))
    with monkeypatch.context() as patched:
        patched.setattr("vip_train.adapter.save_file", lambda *args: die() if next(calls) == which else save_file(*args))
        patched.setattr("vip_train.files.shutil.rmtree", lambda *_, **__: None)
        if which == 2:
            patched.setattr("vip_train.runs.RunFolder.finish", die)
        with pytest.raises(Broken):
            train(config)
    assert len(list((tmp_path / "run").glob(".adapter*"))) == (which < 2)
    assert (tmp_path / "run" / "adapter-last").is_dir() == (which > 0)
    assert leavings(train(config)) == whole
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES | {"adapter-last"}


def test_before_codes_are_in_use_nothing_counts_as_the_best(config: TrainConfig, nlls: Callable[..., None]) -> None:
    nlls(at_2=1.0, at_4=2.0, at_6=1.5, at_8=3.0, at_9=3.0)
    quantizer = dataclasses.replace(config.vip.quantizer, warmup_steps=4)
    run = train(dataclasses.replace(config, vip=dataclasses.replace(config.vip, quantizer=quantizer)))
    found = results(run)
    assert (found["step"], found["last_step"], found["stopped_early"]) == (6, 9, False)
    assert found["validation_code_perplexity"] > 0


def test_if_nothing_counted_both_adapters_are_the_last(config: TrainConfig) -> None:
    quantizer = dataclasses.replace(config.vip.quantizer, warmup_steps=99)
    run = train(dataclasses.replace(config, vip=dataclasses.replace(config.vip, quantizer=quantizer)))
    assert weights(run) == weights(run, "adapter-last")
    assert results(run)["step"] == 9


def test_other_stopping_or_schedules_are_refused_on_continuing(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(training._Run, "_finish", die)
        with pytest.raises(Broken):
            train(config)
    for change in ({"stopping": StoppingConfig(patience=6, metric="nll")}, {"schedule": ScheduleConfig(warmup_steps=2)}):
        other = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, **change))
        with pytest.raises(UserError, match=rf"holds a run with optimizer\.{next(iter(change))}\.\w+="):
            train(other)


def test_the_command_says_which_adapter_is_which(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--optimizer.stopping.keep-best", "true", "--output", str(tmp_path / "run")]
    assert main(["train", *flags, *more]) == 0
    step = results(tmp_path / "run")["step"]
    said = capsys.readouterr().out
    assert f"the best, of step {step}; that of the last step, 6, is in adapter-last\n" in said
    (entry,) = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    assert entry["command"].startswith("vip-train train --task superglue/cb ")
