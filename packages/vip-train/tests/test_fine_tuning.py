"""Full fine-tuning: whole runs that train the backbone itself, and what they leave."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from vip_core import VIPConfig
from vip_train import training
from vip_train.backbones import load_backbone
from vip_train.cli import main
from vip_train.config import CheckpointConfig, TrainConfig
from vip_train.errors import UserError
from vip_train.evaluation import evaluate
from vip_train.fine_tuning import WholeBackbone
from vip_train.loader import Loader
from vip_train.model import VIPModel
from vip_train.scoring import Scoring
from vip_train.stopping import StoppingConfig
from vip_train.tasks import get_task
from vip_train.tokenised import TokenisedSplit
from vip_train.training import train
from vip_train.world import World

Settings = Callable[..., TrainConfig]


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> TrainConfig:
    return settings(
        output=tmp_path / "run", full_fine_tuning=True, checkpoint=CheckpointConfig(every=2), backbone_learning_rate=0.01
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_whole_backbone_learns_and_is_left(config: TrainConfig, tiny_backbone: Path) -> None:
    folder = train(config)
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "model",
        "results.json",
    }
    before, after = weights(tiny_backbone), weights(folder / "model")
    assert before.keys() == after.keys()
    assert all((after[name] != weight).any() for name, weight in before.items())
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["trained_parameters"] == sum(weight.numel() for weight in before.values())
    assert results["learning_rate_backbone"] == 0.01
    assert "learning_rate_prompt" not in results


def test_what_is_left_is_a_backbone_that_scores_as_the_run_said(config: TrainConfig) -> None:
    folder = train(config)
    loaded = load_backbone(str(folder / "model"))
    task = get_task(config.task)
    split = TokenisedSplit(task.load("validation", config.data_dir), loaded.tokenizer, config.max_source_length)
    model = VIPModel(loaded.model, WholeBackbone(loaded.model))
    found = evaluate(model, split, Scoring.of(task), loaded.tokenizer, World(0, 1, torch.device("cpu")))
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert {name: results[f"validation_{name}"] for name in ("nll", "accuracy")} == {
        "nll": found.nll,
        "accuracy": found.scores.values["accuracy"],
    }


def test_a_run_broken_off_ends_in_the_same_weights(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(BaseException):
        """Stands for kill -9."""

    whole = weights(train(dataclasses.replace(config, output=config.output.with_name("whole"))) / "model")  # type: ignore[union-attr]
    read = Loader.batch

    def die(self: Loader, step: int) -> Any:
        if step == 4:
            raise Broken
        return read(self, step)

    with monkeypatch.context() as patched:
        patched.setattr(training.Loader, "batch", die)
        with pytest.raises(Broken):
            train(config)
    continued = weights(train(config) / "model")
    assert all(torch.equal(continued[name], weight) for name, weight in whole.items())


def test_the_best_and_the_last_model_are_kept(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 2.0])
    monkeypatch.setattr(training, "evaluate", lambda *given: evaluate(*given)._replace(nll=next(losses)))
    optimizer = dataclasses.replace(config.optimizer, stopping=StoppingConfig(keep_best=True, metric="nll"))
    # The warm-up of the codes that there would be in a prompt is no reason to wait.
    folder = train(dataclasses.replace(config, optimizer=optimizer, vip=VIPConfig()))
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert (results["step"], results["last_step"]) == (2, 4)
    best, last = weights(folder / "model"), weights(folder / "model-last")
    assert any((best[name] != weight).any() for name, weight in last.items())
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_command_says_where_the_model_is(config: TrainConfig, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    vip = [at for at, flag in enumerate(flags) if flag.startswith("--vip.")]
    own = [flag for at, flag in enumerate(flags) if at not in vip and at - 1 not in vip]
    assert main(["train", *own, "--full-fine-tuning", "true", "--output", str(config.output)]) == 0
    said = capsys.readouterr()
    assert f"model            {config.output}/model" in said.out
    assert "deepspeed" not in said.out
    assert "0 frozen parameters; full fine-tuning: " in said.err + said.out


def test_a_precision_that_loses_steps_is_refused(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match="precision=bf16: full_fine_tuning needs fp32"):
        dataclasses.replace(config, precision="bf16")


def test_deepspeed_is_refused(config: TrainConfig) -> None:
    with pytest.raises(UserError, match=r"full_fine_tuning: needs engine\.name=torch"):
        train(config, launched_by_deepspeed=True)
    assert not config.output.exists()  # type: ignore[union-attr]


def test_it_has_neither_tokens_nor_codes(tiny_backbone: Path) -> None:
    prompt = WholeBackbone(load_backbone(str(tiny_backbone)).model)
    text, mask = torch.randn(2, 5, 32), torch.ones(2, 5)
    found = prompt(text, mask)
    assert found.embeds_BLD is text
    assert found.mask_BL is mask
    assert found.prompt_BPD.shape == (2, 0, 32)
    assert not found.weight_BPK.numel()
    assert prompt.code_vectors().shape == (0, 32)
    assert prompt.prompt_parameters() == prompt.contextualizer_parameters() == []
