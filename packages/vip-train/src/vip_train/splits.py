"""Which examples a run reads, and how many of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vip_train.tasks import Example, Task
from vip_train.tasks.task import Split


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where examples come from."""

    task: str = "forms"
    """Name of a task, such as superglue/cb; an unknown one is refused with those there are. Several joined by + are trained
    together, a weight behind a colon: superglue/cb:2+squad, see `vip_train.tasks.mixture`."""
    data_dir: Path | None = None
    """Folder that holds the task's official folder (such as CB/train.jsonl), or that is above such a folder.
    By default tasks come from the hub; `forms`, `reviews` and `notes` are built in."""
    max_train_examples: int | None = None
    """Most training examples of a task, chosen at random but the same in every run. By default all."""
    max_validation_examples: int | None = None
    """The same of the validation split, for quick evaluations. Scores are then those of the sample."""

    def __post_init__(self) -> None:
        for name in ("max_train_examples", "max_validation_examples"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")

    def load(self, task: Task, split: Split) -> Sequence[Example]:
        """The examples of a split.

        Raises:
            UserError: see `vip_train.tasks.TextTask.load`.
        """
        limit = self.max_train_examples if split == "train" else self.max_validation_examples
        return sample(task.load(split, self.data_dir), limit)


def sample(examples: Sequence[Example], limit: int | None) -> Sequence[Example]:
    """At most so many examples of each part of a mixture, in their order.

    What belongs to one question is taken whole or not at all, for metrics count whole questions. The first question drawn is
    taken even if it is larger.
    """
    if limit is None:
        return examples
    parts: dict[str, dict[str, list[int]]] = {}
    for row, example in enumerate(examples):
        parts.setdefault(example.task, {}).setdefault(example.question or f"row {row}", []).append(row)
    kept: list[int] = []
    for name, questions in parts.items():
        taken: list[int] = []
        drawn = list(questions.values())
        random.Random(f"examples of {name}").shuffle(drawn)
        for rows in drawn:
            if not taken or len(taken) + len(rows) <= limit:
                taken += rows
            if len(taken) >= limit:
                break
        kept += taken
    return [examples[row] for row in sorted(kept)]
