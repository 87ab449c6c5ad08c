"""Which examples a run reads, and how many of them."""

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vip_train.stored import StoredExamples
from vip_train.tasks import Example, Task, get_task
from vip_train.tasks.own import OwnTask
from vip_train.tasks.table import table_ending
from vip_train.tasks.task import Split

_OWN = ("source_column", "target_column", "id_column", "labels", "skip_bad_rows", "encoding")
"""Settings of tables of one's own, besides the files."""


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
    train_file: Path | None = None
    """A table of your own in place of a task: .jsonl, .csv or .tsv, plain or as .gz. See `vip_train.tasks.own`."""
    validation_file: Path | None = None
    """The same to evaluate on. By default about a tenth of the rows of `train_file` is held out, by a hash of the source."""
    source_column: str = "source"
    """Of such a table: what the encoder reads."""
    target_column: str = "target"
    """Of such a table: the label, or the text to be written."""
    id_column: str = ""
    """Of such a table: what no two rows may share. By default none."""
    labels: tuple[str, ...] = ()
    """All there are in the target column, such as [yes, no]; none, the default, if targets are free text."""
    skip_bad_rows: bool = False
    """Whether bad rows of such a table are passed over and counted. By default the first one ends the run."""
    encoding: str = "utf-8"
    """Of such a table."""

    def __post_init__(self) -> None:
        for name in ("max_train_examples", "max_validation_examples"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if not self.has_own_files:
            for name in _OWN:
                if (value := getattr(self, name)) != getattr(DataConfig, name):
                    raise ValueError(f"{name}={value} is of no use without train_file")
            return
        for name in ("task", "data_dir"):
            if (value := getattr(self, name)) != getattr(type(self), name):
                raise ValueError(f"{name}={value} must not be given with a file of one's own")
        for name in ("train_file", "validation_file"):
            if (path := getattr(self, name)) is not None:
                try:
                    table_ending(path)
                except ValueError as error:
                    raise ValueError(f"{name}={error}") from error
        self._check_columns()
        _check_labels(self.labels)
        check_encoding(self.encoding)

    def _check_columns(self) -> None:
        for name in ("source_column", "target_column"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}={getattr(self, name)!r} must be the name of a column")
        if self.source_column == self.target_column:
            raise ValueError(f"target_column={self.target_column} must not be the source_column")

    @property
    def has_own_files(self) -> bool:
        """Whether examples come from a table of one's own."""
        return self.train_file is not None or self.validation_file is not None

    @property
    def run_name(self) -> str:
        """What a run is called: its task, or its training file without what is behind the dot."""
        return self.task if self.train_file is None else self.train_file.name.removesuffix(".gz").rpartition(".")[0]

    def get_task(self) -> Task:
        """The task, or the table of one's own.

        Raises:
            UserError: there is no such task.
        """
        if not self.has_own_files:
            return get_task(self.task)
        own = {name: getattr(self, name) for name in _OWN}
        return OwnTask(train_file=self.train_file, validation_file=self.validation_file, **own)

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
    taken even if it is larger. Of each question 8 bytes are held in memory, and more of those of several examples.
    """
    if limit is None:
        return examples
    firsts: dict[str, array[int]] = {}  # first row of each question, by part
    others: dict[int, list[int]] = {}  # all rows of a question, by its first, where there are several
    known: dict[tuple[str, str], int] = {}
    for row, example in enumerate(examples):
        first = known.setdefault((example.task, example.question), row) if example.question else row
        if first == row:
            firsts.setdefault(example.task, array("q")).append(row)
        else:
            others.setdefault(first, [first]).append(row)
    kept: list[int] = []
    for name, drawn in firsts.items():
        taken: list[int] = []
        random.Random(f"examples of {name}").shuffle(drawn)
        for first in drawn:
            rows = others.get(first, [first])
            if not taken or len(taken) + len(rows) <= limit:
                taken += rows
            if len(taken) >= limit:
                break
        kept += taken
    if isinstance(examples, StoredExamples):
        return examples.only(sorted(kept))
    return [examples[row] for row in sorted(kept)]


def _check_labels(labels: Sequence[str]) -> None:
    for number, label in enumerate(labels):
        if not label or label != label.strip():
            raise ValueError(f"labels={list(labels)}: {label!r} must be a text without white space around it")
        if label in labels[:number]:
            raise ValueError(f"labels={list(labels)}: {label!r} comes twice")
    if len(labels) == 1:
        raise ValueError(f"labels={list(labels)} must be at least two, or none for free text")


def check_encoding(name: str) -> None:
    """Refuses what Python knows no encoding of text by.

    Raises:
        ValueError: it is none.
    """
    try:
        fine = "a".encode(name).decode(name) == "a"
    except (LookupError, ValueError):
        fine = False
    if not fine:
        raise ValueError(f"encoding={name} must be an encoding of text, such as utf-8, latin-1 or utf-16")
