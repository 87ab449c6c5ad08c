"""The commands of `vip-train`. Adding one is a new file beside this one and a line here."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vip_train.commands import compare, evaluate, export_prompt, import_prompt, predict, pretrain, push, study, train


class Command(NamedTuple):
    """One command."""

    run: Callable[[Sequence[str]], None]
    """Takes its flags."""
    summary: str
    """A line for `vip-train --help`."""


COMMANDS = {
    "train": Command(train.run, "train a VIP adapter for a frozen T5 (the same as run.py)"),
    "compare": Command(compare.run, "train soft prompt tuning and VIP on one task, side by side"),
    "study": Command(study.run, "train methods x tasks x seeds and write a table of them"),
    "evaluate": Command(evaluate.run, "score an adapter on a split of a task"),
    "predict": Command(predict.run, "answer the rows of a file or of stdin with an adapter"),
    "pretrain": Command(pretrain.run, "make a small T5 backbone from a text corpus"),
    "import": Command(import_prompt.run, "make an adapter from a soft prompt of PEFT's or google-research's"),
    "export": Command(export_prompt.run, "make a folder of PEFT's from an adapter of method pt"),
    "push": Command(push.run, "upload an adapter to the Hugging Face hub"),
}

__all__ = ["COMMANDS", "Command"]
