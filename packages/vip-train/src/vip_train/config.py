"""Settings of a training run and how they are read from YAML and flags."""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_type_hints

import jsonargparse
import yaml
from vip_core import VIPConfig

from vip_train.backbones import BUNDLED, Precision
from vip_train.errors import UserError
from vip_train.schedule import ScheduleConfig
from vip_train.splits import DataConfig
from vip_train.stopping import StoppingConfig
from vip_train.trackers import TrackingConfig
from vip_train.written import read_yaml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance  # only type checkers have it

Config = TypeVar("Config", bound="DataclassInstance")

_MOST_EXAMPLES = 2**20
"""Of one optimizer step."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How the prompt is trained."""

    steps: int = 600
    """Optimizer steps. Paper: 30,000 at most."""
    batch_size: int = 32
    """Examples per step over all processes together. Paper: 32."""
    length_window: int = 1
    """Batches whose examples are sorted by length before they are cut into batches. 1 leaves them to chance; from 4 on less is
    padded, but the bundled task `forms` is learned worse."""
    name: Literal["adamw", "adafactor"] = "adamw"
    """`adafactor` works at ZeRO stage 0 only: the other stages flatten the matrices it factors. It is torch's, whose step
    is not the learning rate but `min(rate, 1 / sqrt(step)) * max(1e-3, rms of the parameter)`, so a rate of 0.3 falls from
    the twelfth step on. The paper's optimizer does neither (relative step and parameter scale off)."""
    prompt_learning_rate: float = 0.03
    """Of the static prompt tokens. `pt`, which has no others, wants 0.1 or more. Paper: 0.3 with Adafactor."""
    contextualizer_learning_rate: float = 3e-3
    """Of the contextualizer. Paper: 1e-4 with Adafactor."""
    backbone_learning_rate: float = 1e-3
    """Of the backbone in full fine-tuning. It fits the bundled one; large ones want 1e-4 or less."""
    clip_norm: float = 1.0
    """Largest gradient norm over both groups; 0 does not clip."""
    evaluate_every: int = 100
    """Steps between evaluations on the validation split."""
    seed: int = 0
    """Seeds starting values, batch order and draws."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How the learning rates change."""
    stopping: StoppingConfig = StoppingConfig()
    """When the run ends early, and which prompt is kept."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "length_window", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"optimizer.{name}={getattr(self, name)} must be at least 1")
        if self.batch_size > _MOST_EXAMPLES:
            raise ValueError(f"optimizer.batch_size={self.batch_size} must be at most {_MOST_EXAMPLES}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"optimizer.seed={self.seed} must be at least 0 and less than 2**63")
        for name in ("prompt_learning_rate", "contextualizer_learning_rate", "backbone_learning_rate", "clip_norm"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"optimizer.{name}={getattr(self, name)} must be a finite number of at least 0")
        if self.schedule.warmup_steps >= self.steps:
            raise ValueError(
                f"optimizer.schedule.warmup_steps={self.schedule.warmup_steps} must be less than optimizer.steps={self.steps}"
            )

    def learning_rates(self, step: int) -> dict[str, float]:
        """Of each parameter group in a step, whether the run has it or not; steps count from 1."""
        factor = self.schedule.factor(step, self.steps)
        return {
            "prompt": factor * self.prompt_learning_rate,
            "contextualizer": factor * self.contextualizer_learning_rate,
            "backbone": factor * self.backbone_learning_rate,
        }


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What runs the training step."""

    name: Literal["auto", "torch", "deepspeed"] = "auto"
    """`auto` is DeepSpeed when started by the `deepspeed` command and plain torch otherwise."""
    zero_stage: int = 2
    """What DeepSpeed partitions over processes: 0 nothing, 1 optimizer state, 2 gradients too, 3 the frozen backbone too."""
    offload: Literal["none", "cpu", "nvme"] = "none"
    """Where DeepSpeed keeps what it partitions. `cpu`: optimizer state, and at stage 3 the backbone, in main memory.
    `nvme` (stage 3): the backbone in files under `nvme_path`, the small optimizer state in main memory."""
    nvme_path: Path | None = None
    """Folder on a local disk, for `offload=nvme`."""
    micro_batch_size: int | None = None
    """Examples a process takes at a time; a larger share of the batch is taken in parts, whose gradients add up.
    By default all at once."""
    gradient_checkpointing: bool = False
    """Whether the backbone's layers are computed again in the backward pass instead of being kept: less memory, more time."""
    compile: bool = False
    """Whether torch.compile compiles the backbone in training. Needs a C++ compiler, and ZeRO stage 3 is excluded."""

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 1, 2, 3):
            raise ValueError(f"engine.zero_stage={self.zero_stage} must be 0, 1, 2 or 3")
        if self.micro_batch_size is not None and self.micro_batch_size < 1:
            raise ValueError(f"engine.micro_batch_size={self.micro_batch_size} must be at least 1")
        if self.offload != "none" and self.zero_stage == 0:
            raise ValueError(f"engine.offload={self.offload}: needs engine.zero_stage 1, 2 or 3; stage 0 keeps all where it is")
        if self.offload == "nvme" and self.zero_stage != 3:
            raise ValueError(
                f"engine.offload=nvme: needs engine.zero_stage=3; at {self.zero_stage} the backbone is not partitioned, "
                "and the optimizer state is too small to be worth a disk"
            )
        if (self.offload == "nvme") != (self.nvme_path is not None):
            raise ValueError(f"engine.nvme_path={self.nvme_path} must be given with engine.offload=nvme, and only then")


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """What a run that is broken off can continue from. See `vip_train.checkpoint`."""

    every: int = 100
    """Steps between checkpoints. One more is written when a signal stops the run."""
    keep: int = 2
    """How many of the newest are kept."""

    def __post_init__(self) -> None:
        for name in ("every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"checkpoint.{name}={getattr(self, name)} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(DataConfig):
    """One training run."""

    backbone: str = BUNDLED
    """`bundled`, a folder, or a hub id such as google/t5-base-lm-adapt."""
    precision: Precision = "auto"
    """Of the backbone: auto is bf16 on a GPU and fp32 on a CPU. `int8` and `nf4` (4 bits, needs vip-train[quantized]) round its
    linear layers. fp16 is refused, T5 overflows in it."""
    output: Path | None = None
    """Folder to create, or that of a broken-off run to continue; by default the next free runs/<task>-<number>,
    or runs/<name of train_file>-<number>."""
    max_source_length: int = 480
    """Source tokens kept. Paper: 480."""
    test_task: str = ""
    """A task, or several joined by +, on whose test split the kept prompt is scored once, after training; by default none.
    It need not be what is trained: suite/mood+suite/mood-new:0."""
    vip: VIPConfig = VIPConfig()
    """The prompt."""
    full_fine_tuning: bool = False
    """Train the whole backbone and no prompt, for comparison; `vip` is not used. In fp32 by plain torch, and the run leaves a
    whole model."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Its training."""
    engine: EngineConfig = EngineConfig()
    """Plain torch or DeepSpeed."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """What a broken-off run continues from."""
    tracking: TrackingConfig = TrackingConfig()
    """Where metrics go besides metrics.jsonl."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation_file is not None and self.train_file is None:
            raise ValueError(f"validation_file={self.validation_file} is of no use without train_file")
        if self.max_source_length < 2:
            raise ValueError(f"max_source_length={self.max_source_length} must be at least 2")
        if self.precision == "fp16":
            raise ValueError("precision=fp16: T5 overflows in fp16 (transformers#9295); use bf16 or fp32")
        if self.full_fine_tuning and self.precision not in ("auto", "fp32"):
            raise ValueError(f"precision={self.precision}: full_fine_tuning needs fp32, steps of training are lost below it")


@lru_cache  # a study parses hundreds of runs, and making one takes five times as long as parsing with it
def parser_for(kind: type[Any], prog: str, description: str) -> jsonargparse.ArgumentParser:
    """A command line with a flag for every field of `kind`, nested ones by dots, and `--config FILE.yaml` for any of them."""
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    jsonargparse.set_loader("as written", read_yaml, (yaml.YAMLError,))
    parser = jsonargparse.ArgumentParser(
        prog=prog, description=description, exit_on_error=False, allow_abbrev=False, parser_mode="as written"
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these settings; flags after it win")
    parser.add_class_arguments(kind, None)
    return parser


def parse(kind: type[Config], arguments: Sequence[str], *, prog: str, description: str = "") -> Config:
    """Reads settings from flags and YAML. Dashes and underscores in flag names are the same.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type or out of range, or an unreadable YAML file.
    """
    parser = parser_for(kind, prog, description)
    try:
        parsed = parser.parse_args([_underscored(argument) for argument in arguments])
        _check_values(kind, parsed, "")
        found = parser.instantiate(parsed)
        return kind(**{field.name: getattr(found, field.name) for field in fields(kind)})
    except (argparse.ArgumentError, ValueError, TypeError, RecursionError) as error:
        files = [later for flag, later in itertools.pairwise(arguments) if flag == "--config"]
        files += [argument.partition("=")[2] for argument in arguments if argument.startswith("--config=")]
        where = "".join(f"{file}: " for file in files)
        raise UserError(where + " ".join(str(error).split())) from error


def _check_values(kind: type[Any], found: jsonargparse.Namespace, prefix: str) -> None:
    """Refuses what jsonargparse takes: null for any setting, and a value in the place of settings that hold settings."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        name, value = f"{prefix}{field.name}", found[field.name]
        if is_dataclass(field.default):
            if not isinstance(value, jsonargparse.Namespace):
                raise ValueError(f"{name}={value} must be settings by name")
            _check_values(type(field.default), value, f"{name}.")
        elif value is None and type(None) not in get_args(hints[field.name]):
            raise ValueError(f"{name}=null must be a value")


def _underscored(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument[2:].partition("=")
    return f"--{flag.replace('-', '_')}{equals}{value}"


def to_yaml(config: Any) -> str:
    """The whole resolved configuration, in the form `--config` reads back."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return str(value) if isinstance(value, Path) else value

    text: str = yaml.safe_dump(plain(asdict(config)), sort_keys=False)
    return text
