"""The whole recipe on a small CB: what a run leaves, that it repeats from its own settings, and what a failed one leaves."""

import dataclasses
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from vip_core import VIPPrompt
from vip_train.adapter import load_adapter, read_adapter_config
from vip_train.backbones import Backbone, fingerprint
from vip_train.config import TrainConfig, parse, to_yaml
from vip_train.data import Batch, digest
from vip_train.errors import UserError
from vip_train.evaluation import evaluate
from vip_train.order import Shuffled
from vip_train.predict import predict
from vip_train.scoring import Scoring
from vip_train.tasks import TASKS, get_task
from vip_train.tokenised import TokenisedSplit
from vip_train.training import next_output, train
from vip_train.world import World

METHODS: list[Any] = ["vip", "vip-c", "vip-q", "pt"]
Settings = Callable[..., TrainConfig]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def results(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_every_method_leaves_an_adapter_and_its_figures(
    method: Any, settings: Settings, data: Path, backbone: Backbone, tmp_path: Path
) -> None:
    config = settings(output=tmp_path / "run")
    config = dataclasses.replace(config, vip=dataclasses.replace(config.vip, method=method), max_source_length=30)
    assert train(config) == tmp_path / "run"
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "adapter",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "results.json",
    }

    assert [line["step"] for line in metrics(tmp_path / "run")] == [2, 4]
    adapter = load_adapter(tmp_path / "run" / "adapter", backbone=backbone)
    assert adapter.config.vip == config.vip
    assert (adapter.config.task, adapter.config.backbone) == (config.task, config.backbone)
    assert (adapter.config.answers, adapter.config.max_source_length) == (("true", "false", "neither"), 30)

    task, found = get_task(config.task), results(tmp_path / "run")
    examples, validation = task.load("train", data), task.load("validation", data)
    alone = World(rank=0, size=1, device=torch.device("cpu"))
    split = TokenisedSplit(validation, adapter.tokenizer, 30)
    again = evaluate(adapter.model, split, Scoring.of(task), adapter.tokenizer, alone)
    for name, value in again.record().items():
        assert found[f"validation_{name}"] == (list(value) if isinstance(value, tuple) else value), name
    assert metrics(tmp_path / "run")[-1].items() <= found.items()
    assert Scoring.of(task).baseline(examples, validation).record().items() <= found.items()
    assert {"majority_accuracy", "majority_macro_f1", "validation_macro_f1"} <= found.keys()
    assert found.pop("data") == digest(examples, validation)
    assert found.pop("backbone") == fingerprint(backbone.model)
    assert all(torch.isfinite(torch.tensor(value)).all() for value in found.values())
    card = (tmp_path / "run" / "adapter" / "README.md").read_text(encoding="utf-8")
    assert f"| validation_accuracy | {found['validation_accuracy']:.6g} |" in card


def test_everything_that_should_learn_has_moved(settings: Settings, backbone: Backbone, tmp_path: Path) -> None:
    config = settings(output=tmp_path / "run")
    train(config)
    torch.manual_seed(config.optimizer.seed)
    start = VIPPrompt(config.vip, backbone.model.get_input_embeddings().weight).state_dict()
    for name, value in weights(tmp_path / "run").items():
        if name != "contextualizer.scale":
            assert not torch.equal(value, start[name]), name


def test_a_run_repeats_bitwise_from_the_settings_it_wrote(settings: Settings, tmp_path: Path) -> None:
    train(settings(output=tmp_path / "first"))
    torch.manual_seed(123)
    arguments = ["--config", str(tmp_path / "first" / "config.yaml"), "--output", str(tmp_path / "second")]
    train(parse(TrainConfig, arguments, prog="vip-train train"))
    assert equal(weights(tmp_path / "first"), weights(tmp_path / "second"))
    timeless = [
        [{name: value for name, value in line.items() if name != "seconds"} for line in metrics(tmp_path / name)]
        for name in ("first", "second")
    ]
    assert timeless[0] == timeless[1]
    train(settings(output=tmp_path / "third", seed=1))
    assert not equal(weights(tmp_path / "first"), weights(tmp_path / "third"))


def test_the_settings_it_wrote_are_the_ones_it_ran_with(settings: Settings, tmp_path: Path) -> None:
    config = settings(output=tmp_path / "run", steps=1)
    train(config)
    assert (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8") == to_yaml(config)


def test_how_often_it_evaluates_does_not_change_what_it_learns(settings: Settings, tmp_path: Path) -> None:
    train(settings(output=tmp_path / "often", evaluate_every=1))
    train(settings(output=tmp_path / "once", evaluate_every=99))
    assert [line["step"] for line in metrics(tmp_path / "often")] == [1, 2, 3, 4]
    assert [line["step"] for line in metrics(tmp_path / "once")] == [4]
    assert equal(weights(tmp_path / "often"), weights(tmp_path / "once"))
    mean = sum(line["train_nll"] for line in metrics(tmp_path / "often")) / 4
    assert metrics(tmp_path / "once")[0]["train_nll"] == pytest.approx(mean, rel=1e-6)


def warm(config: TrainConfig) -> TrainConfig:
    quantizer = dataclasses.replace(config.vip.quantizer, warmup_steps=3, revive_below=0.0)
    return dataclasses.replace(config, vip=dataclasses.replace(config.vip, quantizer=quantizer))


def test_after_the_warm_up_codes_come_into_use_and_move(settings: Settings, tmp_path: Path, backbone: Backbone) -> None:
    code = "quantizer.codebook.code_KD"
    for steps in (2, 3, 5):
        config = warm(settings(output=tmp_path / str(steps), steps=steps, evaluate_every=1))
        train(config)
    found = {steps: weights(tmp_path / str(steps)) for steps in (2, 3, 5)}
    torch.manual_seed(config.optimizer.seed)
    start = VIPPrompt(config.vip, backbone.model.get_input_embeddings().weight).state_dict()[code]
    assert torch.equal(found[2][code], start), "in the warm-up codes stay"
    assert not torch.isclose(found[3][code], start).all(1).any(), "k-means placed every code"
    assert not torch.equal(found[5][code], found[3][code])
    assert [int(found[steps]["quantizer.codebook.steps"]) for steps in (2, 3, 5)] == [2, 3, 5], "one update per step"
    lines = metrics(tmp_path / "5")
    assert [line["validation_code_perplexity"] > 0 for line in lines] == [False, False, True, True, True]
    assert [line["commitment"] > 0 for line in lines] == [False, False, False, True, True]


def test_a_task_of_free_text_is_trained_and_what_it_writes_is_measured(
    settings: Settings, data: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        TASKS, "free", dataclasses.replace(get_task("superglue/cb"), name="free", answers={}, metrics=("accuracy",))
    )
    train(settings(task="free", output=tmp_path / "run"))
    adapter = load_adapter(tmp_path / "run" / "adapter", backbone=backbone)
    assert adapter.config.answers == ()
    validation = get_task("free").load("validation", data)
    limit = max(len(adapter.tokenizer(example.target)["input_ids"]) for example in validation)
    written = [found.answer for found in predict(adapter, [example.source for example in validation], max_new_tokens=limit)]
    found = results(tmp_path / "run")
    assert found["validation_accuracy"] == Scoring.among(()).score(written, validation).values["accuracy"]
    assert found["validation_nll"] > 0
    assert found["validation_label_bits"] == pytest.approx(0, abs=1e-6)
    assert found["validation_input_bits"] != 0


def test_a_mixture_is_trained_and_each_part_measured_by_its_own_metrics(
    settings: Settings, data: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("free", "watched"):
        task = dataclasses.replace(TASKS["superglue/cb"], name=name, answers={}, metrics=("f1", "exact_match"))
        monkeypatch.setitem(TASKS, name, task)
    config = settings(task="superglue/cb:2+free+watched:0", output=tmp_path / "run")
    stopping = dataclasses.replace(config.optimizer.stopping, keep_best=True)
    train(dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, stopping=stopping)))
    found, lines = results(tmp_path / "run"), metrics(tmp_path / "run")
    scores = ["mean", "accuracy/superglue/cb", "macro_f1/superglue/cb"]
    scores += [f"{metric}/{name}" for name in ("free", "watched") for metric in ("f1", "exact_match")]
    assert all(0 <= found[f"{kind}_{name}"] <= 1 for name in scores for kind in ("validation", "majority"))
    mean = (found["validation_accuracy/superglue/cb"] + found["validation_f1/free"]) / 2
    assert found["validation_mean"] == pytest.approx(mean)
    assert found["validation_mean"] == max(line["validation_mean"] for line in lines), "the best is kept"
    assert load_adapter(tmp_path / "run" / "adapter", backbone=backbone).config.answers == ()


def test_it_learns_what_can_be_learned(settings: Settings, tmp_path: Path) -> None:
    """One text whose answer never changes: its loss keeps falling, and would not if nothing were learned."""
    folder = tmp_path / "data" / "CB"
    folder.mkdir(parents=True)
    row = json.dumps({"premise": "Bake milo.", "hypothesis": "tura", "label": "neutral"}) + "\n"
    for name in ("train", "val"):
        (folder / f"{name}.jsonl").write_text(row * 8, encoding="utf-8")
    values = {"data_dir": folder.parent, "steps": 40, "evaluate_every": 10}
    train(settings(output=tmp_path / "learned", prompt_learning_rate=0.3, **values))
    train(settings(output=tmp_path / "still", prompt_learning_rate=0.0, contextualizer_learning_rate=0.0, **values))
    learned, still = ([line["train_nll"] for line in metrics(tmp_path / name)] for name in ("learned", "still"))
    assert learned == sorted(learned, reverse=True)
    assert learned[-1] < 0.97 * still[-1]


def test_what_is_about_to_be_trained_is_said(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings(output=tmp_path / "run", max_source_length=9)
    train(config)
    said = capsys.readouterr().out
    assert "superglue/cb: 30 training and 11 validation examples, 30 cut to 9 tokens" in said
    assert f"backbone {config.backbone}: " in said
    assert "frozen parameters; method vip: " in said
    assert "torch, 1 process on cpu" in said
    assert re.search(r"a constant answer reaches accuracy 0\.\d{3}, macro_f1 0\.\d{3} and loss [01]\.\d{3}", said)
    assert len(re.findall(r"step +\d+ +loss", said)) == 2


# --- what is refused ---


def refusal(config: TrainConfig) -> str:
    """The one line that says why there is no adapter; makes sure that nothing is left behind."""
    assert config.output is not None
    before = {path: path.read_bytes() for path in config.output.parent.rglob("*") if path.is_file()}
    names = sorted(config.output.parent.iterdir())
    with pytest.raises(UserError) as caught:
        train(config)
    assert {path: path.read_bytes() for path in config.output.parent.rglob("*") if path.is_file()} == before
    assert sorted(config.output.parent.iterdir()) == names
    assert not torch.distributed.is_initialized()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_an_output_in_use_is_refused_and_kept(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    assert refusal(settings(output=tmp_path / "used")).startswith(f"{tmp_path / 'used'}: ")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"task": "superglue/xyz"}, "superglue/xyz"),
        ({"data_dir": Path("nowhere")}, "nowhere/CB/train.jsonl"),
        ({"backbone": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_cannot_be_loaded_is_named_and_nothing_is_left(
    values: dict[str, Any], named: str, settings: Settings, tmp_path: Path
) -> None:
    assert named in refusal(settings(output=tmp_path / "run", **values))


def test_no_thread_is_left_by_a_run_or_by_its_error(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    train(settings(output=tmp_path / "run"))
    assert set(threading.enumerate()) == before

    def broken(self: Shuffled, step: int) -> Batch:
        raise OSError(f"no batch {step}")

    monkeypatch.setattr(Shuffled, "batch", broken)
    with pytest.raises(OSError, match="no batch 1"):
        train(settings(output=tmp_path / "broken"))
    assert set(threading.enumerate()) == before


def test_runs_are_numbered(tmp_path: Path) -> None:
    assert next_output("superglue/cb", tmp_path) == tmp_path / "superglue-cb-1"
    (tmp_path / "superglue-cb-1").mkdir()
    (tmp_path / "superglue-cb-3").mkdir()
    assert next_output("superglue/cb", tmp_path) == tmp_path / "superglue-cb-2"
    assert next_output("notes", tmp_path) == tmp_path / "notes-1"


def test_without_an_output_a_run_gets_the_next_number(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert train(settings(steps=1)) == Path("runs") / f"superglue-cb-{number}"
    assert read_adapter_config(Path("runs/superglue-cb-2/adapter")).task == "superglue/cb"
