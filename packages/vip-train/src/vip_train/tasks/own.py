"""A user's own table as a task: a column of sources and one of targets, which are labels or free text.

White space around both is removed. Metrics: accuracy and macro-F1 of labels, word F1 and exact match of free text.
"""

import hashlib
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from vip_train.errors import UserError
from vip_train.stored import StoredExamples
from vip_train.tasks.table import BadRow, TableRow, read_table
from vip_train.tasks.task import Split

_REASONS = 3
"""How many of the bad rows are said."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


class Skipped(NamedTuple):
    """The bad rows that were passed over."""

    rows: int
    """How many."""
    reasons: tuple[str, ...]
    """Of the first ones, with file, line and column."""


class _Bad:
    """Counts bad rows, and knows the reasons of some."""

    def __init__(self) -> None:
        self.count = 0
        self.reasons: list[str] = []
        self.newest = ""

    def add(self, row: BadRow) -> None:
        self.count += 1
        self.newest = str(row)
        if len(self.reasons) < _REASONS:
            self.reasons.append(self.newest)


class _Loaded(NamedTuple):
    splits: Mapping[Split, StoredExamples]
    skipped: Skipped


@dataclass(frozen=True, kw_only=True)
class OwnTask:
    """Trains on one table. It is read once, when the first split is asked for; what is kept of it is on the disk.

    Without a validation file about a tenth of the rows is held out: those whose source has a hash that 10 divides. So equal
    sources fall on the same side, and the same file is divided alike in every run.
    """

    train_file: Path | None = None
    """.jsonl, .csv or .tsv, plain or as .gz. With none there is only something to be evaluated on."""
    validation_file: Path | None = None
    """The same. One of both is there."""
    source_column: str = "source"
    """Holds what the encoder reads; text."""
    target_column: str = "target"
    """Holds the label, where in JSON numbers and booleans count as they are written there, or the text to be written."""
    id_column: str = ""
    """Holds what no two rows of a file may share; by default none does. To compare, 16 bytes of a hash and the line are kept in
    memory, which Python makes about 150 bytes a row."""
    labels: tuple[str, ...] = ()
    """All there are; none if targets are free text."""
    skip_bad_rows: bool = False
    """Whether bad rows are counted and passed over. By default the first ends it all."""
    encoding: str = "utf-8"
    """Of both files."""

    name: ClassVar[str] = ""
    """`--task` knows no such task."""

    @property
    def answers(self) -> Mapping[str, str]:
        """Each label is written as it is."""
        return {label: label for label in self.labels}

    @property
    def metrics(self) -> tuple[str, ...]:
        """See `Part`."""
        return ("accuracy", "macro_f1") if self.labels else ("f1", "exact_match")

    @property
    def parts(self) -> "Mapping[str, OwnTask]":
        """See `Task`."""
        return {"": self}

    @property
    def weights(self) -> Mapping[str, float]:
        """See `Task`."""
        return {"": 1.0}

    @property
    def skipped(self) -> Skipped:
        """What was passed over in both files; they are read if they were not.

        Raises:
            UserError: as `load`.
        """
        return self._loaded.skipped

    def load(self, split: Split, data_dir: Path | None) -> StoredExamples:
        """All examples of a split, in the order of the file.

        Args:
            split: which.
            data_dir: of no account here.

        Raises:
            UserError: a file cannot be read, a row is bad and bad rows are not skipped, or a split has no rows or no file.
        """
        if split == "train" and self.train_file is None:
            raise UserError(f"validation_file={self.validation_file}: is not trained on, give a train_file")
        return self._loaded.splits[split]

    @cached_property
    def _loaded(self) -> _Loaded:
        splits: dict[Split, StoredExamples] = {"train": StoredExamples(), "validation": StoredExamples()}
        bad = _Bad()
        if self.train_file is not None:
            for source, target, line in self._rows(self.train_file, bad):
                held_out = self.validation_file is None and _is_held_out(source)
                splits["validation" if held_out else "train"].append(source, target, line)
        if self.validation_file is not None:
            for source, target, line in self._rows(self.validation_file, bad):
                splits["validation"].append(source, target, line)
        for split, examples in splits.items():
            if not len(examples) and self.train_file is not None:
                raise UserError(
                    f"{self.train_file}: has no rows for {split} when a tenth is held out by the hash of its source; "
                    "give a file of more rows, or a validation_file"
                )
        return _Loaded(splits, Skipped(bad.count, tuple(bad.reasons)))

    def _rows(self, path: Path, bad: "_Bad") -> Iterator[tuple[str, str, int]]:
        """Source, target and line of each row of a file."""
        columns = [self.source_column, self.target_column, *([self.id_column] if self.id_column else [])]
        seen: dict[bytes, int] = {}
        rows, bad_before = 0, bad.count
        for found in read_table(path, columns, self.encoding):
            try:
                yield self._read(path, found, seen)
                rows += 1
            except BadRow as error:
                if not self.skip_bad_rows:
                    raise
                bad.add(error)
        if not rows:
            skipped = bad.count - bad_before
            raise UserError(f"{path}: has no rows" + (f" but {skipped} bad ones, such as {bad.newest}" if skipped else ""))

    def _read(self, path: Path, found: TableRow | BadRow, seen: dict[bytes, int]) -> tuple[str, str, int]:
        """Source, target and line of a row. Ids are put into `seen`, with the line each was first on."""
        if isinstance(found, BadRow):
            raise found
        place = f"{path}:{found.line}"
        source = _text(place, self.source_column, found.values[self.source_column], is_name=False)
        target = _text(place, self.target_column, found.values[self.target_column], is_name=bool(self.labels))
        if self.labels and target not in self.labels:
            allowed = ", ".join(map(repr, self.labels))
            raise BadRow(f"{place}: column {self.target_column!r}: {_SHORT.repr(target)} is unknown, allowed are {allowed}")
        if self.id_column:
            name = _text(place, self.id_column, found.values[self.id_column], is_name=True)
            before = seen.setdefault(hashlib.blake2b(name.encode(), digest_size=16).digest(), found.line)
            if before != found.line:
                raise BadRow(f"{place}: column {self.id_column!r}: {_SHORT.repr(name)} was there before, in line {before}")
        return source, target, found.line


def _text(place: str, column: str, value: Any, *, is_name: bool) -> str:
    """A value as text without white space around it; of a name also a number or boolean, as JSON writes it."""
    if is_name and isinstance(value, bool):
        value = str(value).lower()
    elif is_name and isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str):
        raise BadRow(f"{place}: column {column!r}: is {_SHORT.repr(value)}, a text was expected")
    if not (text := value.strip()):
        raise BadRow(f"{place}: column {column!r}: is empty")
    return text


def _is_held_out(source: str) -> bool:
    return int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest()) % 10 == 0
