"""Settings from flags and YAML: what they mean, what is refused and by which name, and that they are written back whole."""

import dataclasses
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig
from vip_train.config import CheckpointConfig, EngineConfig, OptimizerConfig, TrainConfig, parse, to_yaml
from vip_train.errors import UserError
from vip_train.pretrain.loop import PretrainConfig, ShapeConfig
from vip_train.schedule import ScheduleConfig
from vip_train.stopping import StoppingConfig
from vip_train.trackers import TrackingConfig

OTHER = TrainConfig(
    task="superglue/rte",
    data_dir=Path("some data"),
    max_train_examples=8,
    max_validation_examples=9,
    backbone="google/t5-base-lm-adapt",
    precision="fp32",
    output=Path("runs/1e-4"),
    full_fine_tuning=True,
    max_source_length=77,
    test_task="suite/mood",
    vip=VIPConfig(
        prompt_length=5,
        method="vip-q",
        skip=False,
        prompt_start="first",
        contextualizer=ContextualizerConfig(
            width=8, layers=1, heads=2, feedforward=9, dropout=0.5, norm="post", activation="relu"
        ),
        quantizer=QuantizerConfig(
            codes=3,
            space="embedding",
            draws=2,
            temperature=1.5,
            commitment=0,
            decay=0.5,
            ema="reference",
            warmup_steps=0,
            revive_below=0.0,
            start_norm=2,
            evaluation="argmax",
        ),
    ),
    optimizer=OptimizerConfig(
        steps=3,
        batch_size=2,
        length_window=5,
        name="adafactor",
        prompt_learning_rate=1e-30,
        contextualizer_learning_rate=1e20,
        backbone_learning_rate=2,
        clip_norm=0.0,
        evaluate_every=2,
        seed=9,
        schedule=ScheduleConfig(name="cosine", warmup_steps=1),
        stopping=StoppingConfig(keep_best=True, metric="nll", patience=5),
    ),
    engine=EngineConfig(
        name="deepspeed",
        zero_stage=3,
        offload="nvme",
        nvme_path=Path("local disk"),
        micro_batch_size=3,
        gradient_checkpointing=True,
        compile=True,
    ),
    checkpoint=CheckpointConfig(every=7, keep=1),
    tracking=TrackingConfig(tensorboard=True, wandb=True, project="mine", every=3),
)

OWN = TrainConfig(
    train_file=Path("my rows.csv.gz"),
    validation_file=Path("held out.jsonl"),
    source_column="text",
    target_column="on",
    id_column="id",
    labels=("yes", "no", "1", "null", "1e-4"),
    skip_bad_rows=True,
    encoding="latin-1",
)


def read(*arguments: str) -> TrainConfig:
    return parse(TrainConfig, arguments, prog="vip-train train")


def refusal(*arguments: str) -> str:
    """The one line that says what is wrong with the settings."""
    with pytest.raises(UserError) as caught:
        read(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    """Writes a YAML file and returns its name."""

    def write(text: str) -> str:
        (tmp_path / "settings.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "settings.yaml")

    return write


Written = Callable[[str], str]


def test_nothing_given_is_the_default() -> None:
    assert read() == TrainConfig()


def test_the_other_values_of_these_tests_are_no_defaults() -> None:
    def differ(one: Any, *others: Any) -> None:
        for field in dataclasses.fields(one):
            value, *rest = (getattr(config, field.name) for config in (one, *others))
            if dataclasses.is_dataclass(value):
                differ(value, *rest)
            else:
                assert any(value != other for other in rest), field.name

    differ(TrainConfig(), OTHER, OWN)


# --- flags ---


@pytest.mark.parametrize(
    "arguments",
    [
        ("--optimizer.prompt-learning-rate", "1e-4", "--data-dir", "my-data"),
        ("--optimizer.prompt_learning_rate", "1e-4", "--data_dir", "my-data"),
        ("--optimizer.prompt-learning-rate=1e-4", "--data-dir=my-data"),
        ("--optimizer.prompt_learning_rate=0.0001", "--data_dir=my-data"),
    ],
)
def test_dashes_and_underscores_of_a_flag_are_alike_and_values_are_left_alone(arguments: tuple[str, ...]) -> None:
    found = read(*arguments)
    assert found.optimizer.prompt_learning_rate == 1e-4
    assert found.data_dir == Path("my-data")
    assert found == dataclasses.replace(
        TrainConfig(), data_dir=Path("my-data"), optimizer=OptimizerConfig(prompt_learning_rate=1e-4)
    )


def flags_of(config: Any, prefix: str = "--") -> list[str]:
    flags: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flags += flags_of(value, f"{prefix}{field.name}.")
        else:
            plain = isinstance(value, bool | tuple) or value is None
            flags += [prefix + field.name.replace("_", "-"), json.dumps(value) if plain else str(value)]
    return flags


@pytest.mark.parametrize("config", [OTHER, OWN], ids=["other", "own"])
def test_every_setting_has_a_flag(config: TrainConfig) -> None:
    assert read(*flags_of(config)) == config


def test_pretraining_is_set_in_the_same_way() -> None:
    found = parse(
        PretrainConfig, ["--corpus", "a.xz", "--output", "b", "--shape.decoder-layers", "3"], prog="vip-train pretrain"
    )
    assert found == PretrainConfig(corpus=Path("a.xz"), output=Path("b"), shape=ShapeConfig(decoder_layers=3))


def test_a_required_setting_that_is_not_given_is_named() -> None:
    with pytest.raises(UserError, match="corpus"):
        parse(PretrainConfig, ["--output", "b"], prog="vip-train pretrain")


def test_help_names_every_setting_and_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for flag in flags_of(TrainConfig())[::2]:
        assert flag.replace("-", "_").replace("__", "--", 1) in said, flag
    assert "Optimizer steps. Paper: 30,000 at most." in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--colour", "red"), "colour"),
        (("--optimizer.colour", "red"), "optimizer.colour"),
        (("--vip.quantizer.colour=red",), "vip.quantizer.colour"),
        (("--optimizer.step", "3"), "optimizer.step"),
        (("stray",), "stray"),
        (("--task",), "task"),
        (("--optimizer.steps", "many"), "optimizer.steps"),
        (("--optimizer.steps", "1.5"), "optimizer.steps"),
        (("--vip.skip", "perhaps"), "vip.skip"),
        (("--optimizer.prompt-learning-rate", "fast"), "optimizer.prompt_learning_rate"),
        (("--precision", "fp64"), "precision"),
        (("--engine.name", "horovod"), "engine.name"),
        (("--vip.method", "vipp"), "vip.method"),
        (("--vip.quantizer.temperature", "hot"), "vip.quantizer.temperature"),
        (("--optimizer.steps", "0"), "optimizer.steps=0"),
        (("--optimizer.batch-size", "-1"), "optimizer.batch_size=-1"),
        (("--optimizer.length-window", "0"), "optimizer.length_window=0"),
        (("--optimizer.evaluate-every", "0"), "optimizer.evaluate_every=0"),
        (("--optimizer.clip-norm", "-0.5"), "optimizer.clip_norm=-0.5"),
        (("--optimizer.prompt-learning-rate", "inf"), "optimizer.prompt_learning_rate"),
        (("--optimizer.contextualizer-learning-rate", "nan"), "optimizer.contextualizer_learning_rate"),
        (("--engine.zero-stage", "4"), "engine.zero_stage=4"),
        (("--engine.zero-stage", "0", "--engine.offload", "cpu"), "engine.offload=cpu"),
        (("--engine.zero-stage", "2", "--engine.offload", "nvme", "--engine.nvme-path", "disk"), "engine.offload=nvme"),
        (("--engine.zero-stage", "3", "--engine.offload", "nvme"), "engine.nvme_path=None"),
        (("--engine.zero-stage", "3", "--engine.nvme-path", "disk"), "engine.nvme_path=disk"),
        (("--engine.offload", "tape"), "engine.offload"),
        (("--engine.micro-batch-size", "0"), "engine.micro_batch_size=0"),
        (("--precision", "int4"), "precision"),
        (("--checkpoint.every", "0"), "checkpoint.every=0"),
        (("--checkpoint.keep", "0"), "checkpoint.keep=0"),
        (("--optimizer.schedule.name", "staircase"), "optimizer.schedule.name"),
        (("--optimizer.schedule.warmup-steps", "-1"), "optimizer.schedule.warmup_steps=-1"),
        (
            ("--optimizer.schedule.warmup-steps", "600"),
            "optimizer.schedule.warmup_steps=600 must be less than optimizer.steps=600",
        ),
        (("--optimizer.stopping.patience", "-1"), "optimizer.stopping.patience=-1"),
        (("--optimizer.stopping.metric", "f1"), "optimizer.stopping.metric"),
        (("--tracking.every", "0"), "tracking.every=0"),
        (("--tracking.tensorboard", "perhaps"), "tracking.tensorboard"),
        (("--max-source-length", "1"), "max_source_length=1"),
        (("--vip.prompt-length", "0"), "prompt_length=0"),
        (("--vip.quantizer.decay", "1"), "decay=1"),
        (("--vip.contextualizer.width", "30"), "width=30"),
        (("--precision", "fp16"), "precision=fp16: T5 overflows"),
    ],
)
def test_a_wrong_flag_is_named(arguments: tuple[str, ...], named: str) -> None:
    assert named in refusal(*arguments)


# --- YAML ---


def test_yaml_is_read_and_later_flags_win(written: Written) -> None:
    name = written(
        "task: superglue/cb\noptimizer:\n  contextualizer_learning_rate: 1e-4\n  steps: 7\nvip: {quantizer: {codes: 5}}\n"
    )
    found = read("--config", name, "--optimizer.steps", "8")
    assert found.optimizer.contextualizer_learning_rate == 1e-4
    assert isinstance(found.optimizer.contextualizer_learning_rate, float), "YAML 1.1 takes 1e-4 for text"
    assert (found.task, found.optimizer.steps, found.vip.quantizer.codes) == ("superglue/cb", 8, 5)
    assert found.optimizer.batch_size == OptimizerConfig().batch_size


def test_yaml_comes_by_an_equals_sign_too(written: Written) -> None:
    assert read(f"--config={written('task: superglue/cb')}").task == "superglue/cb"


@pytest.mark.parametrize("config", [TrainConfig(), OTHER, OWN], ids=["default", "other", "own"])
def test_what_is_written_reads_back_equal(config: TrainConfig, written: Written) -> None:
    assert read("--config", written(to_yaml(config))) == config


def test_what_is_written_is_plain_yaml_with_every_setting() -> None:
    found = yaml.safe_load(to_yaml(OTHER))
    assert found["data_dir"] == "some data"
    assert found["vip"]["quantizer"]["temperature"] == 1.5
    assert list(found) == [field.name for field in dataclasses.fields(TrainConfig)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour: red", "colour"),
        ("vip: {quantizer: {colour: red}}", "colour"),
        ("optimizer: {lr: 1}", "lr"),
        ("optimizer: {steps: many}", "optimizer.steps"),
        ("optimizer: 3", "optimizer"),
        ("vip: 3", '"vip": Unable to load config'),
        ("optimizer: {schedule: 5}", '"optimizer.schedule": Unable to load config'),
        ("vip: {contextualizer: null}", "vip.contextualizer=None must be settings by name"),
        ("optimizer: {schedule: {name: null}}", "optimizer.schedule.name=null must be a value"),
        ("optimizer: {stopping: {patience: null}}", "optimizer.stopping.patience=null must be a value"),
        ("task: null", "task=null must be a value"),
        ("precision: null", "precision=null must be a value"),
        ("optimizer: {seed: -1}", "optimizer.seed=-1 must be at least 0"),
        ("optimizer: {seed: 99999999999999999999}", "optimizer.seed=99999999999999999999 must be at least 0 and less than"),
        ("optimizer: {batch_size: 99999999999999999999}", "optimizer.batch_size=99999999999999999999 must be at most"),
        ("optimizer: {schedule: 3}", ""),
        ("tracking: []", ""),
        ("engine: {zero_stage: 7}", "engine.zero_stage=7"),
        ("vip: {quantizer: {codes: 0}}", "codes=0"),
        ("precision: fp16", "precision=fp16"),
        ("vip: {skip: maybe}", "vip.skip"),
        ("task: [", ""),
        ("task: 'open", ""),
        ("\ttask: notes", ""),
        ("- task", ""),
        ("just text", ""),
    ],
)
def test_wrong_yaml_is_named_by_file_and_key(text: str, named: str, written: Written) -> None:
    name = written(text)
    message = refusal("--config", name)
    assert name in message
    assert named in message


def test_wrong_yaml_that_came_by_an_equals_sign_is_named_too(written: Written) -> None:
    name = written("colour: red")
    message = refusal(f"--config={name}")
    assert name in message
    assert "colour" in message


@pytest.mark.parametrize("place", ["missing.yaml", "missing/missing.yaml", "."])
def test_yaml_that_is_not_there_is_named(place: str, tmp_path: Path) -> None:
    assert str(tmp_path / place) in refusal("--config", str(tmp_path / place))


def test_no_settings_have_more_than_a_dozen_fields() -> None:
    def check(config: Any) -> None:
        own = inspect.get_annotations(type(config))
        assert len(own) <= 12, type(config).__name__
        for field in dataclasses.fields(config):
            if dataclasses.is_dataclass(value := getattr(config, field.name)):
                check(value)

    check(TrainConfig())


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().task = "other"  # type: ignore[misc]
