"""`vip-train import`: makes an adapter from a soft prompt of PEFT's or google-research's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vip_train.backbones import BUNDLED
from vip_train.config import parse
from vip_train.errors import UserError
from vip_train.exchange import import_soft_prompt
from vip_train.tasks import get_task


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """One soft prompt to be read."""

    prompt: str
    """A PEFT folder of prompt tuning, the hub id of one, or a .npy file of google-research."""
    output: Path
    """Folder to create, an adapter."""
    backbone: str = BUNDLED
    """The T5 it was trained for: `bundled`, a folder, or a hub id. The files do not say; a wrong one gives wrong answers."""
    task: str = ""
    """The task it answers, for its fixed answers; by default its answers are free text."""
    max_source_length: int = 480
    """Source tokens to keep."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""

    def __post_init__(self) -> None:
        if self.max_source_length < 2:
            raise ValueError(f"max_source_length={self.max_source_length} must be at least 2")


def run(arguments: Sequence[str]) -> None:
    """Makes an adapter from a soft prompt."""
    config = parse(ImportConfig, arguments, prog="vip-train import", description="Makes an adapter from a soft prompt.")
    if config.output.exists() and (not config.output.is_dir() or any(config.output.iterdir())):
        raise UserError(f"{config.output}: is there already; choose another folder")
    answers = tuple(dict.fromkeys(get_task(config.task).answers.values())) if config.task else ()
    adapter = import_soft_prompt(
        config.prompt,
        config.backbone,
        task=config.task,
        answers=answers,
        max_source_length=config.max_source_length,
        revision=config.revision,
    )
    adapter.save_pretrained(config.output)
    print(f"adapter {config.output}")
