"""What a task is: where its rows come from, how a row becomes text, and which answers it allows."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vip_train.errors import UserError

Split = Literal["train", "validation"]
Row = Mapping[str, Any]


class Example(NamedTuple):
    """One row as text."""

    source: str
    """What the encoder reads."""
    target: str
    """What the decoder should write."""
    group: str
    """The part of the data it belongs to, such as its domain; empty if there is none. Never shown to the model."""


class HubSource(NamedTuple):
    """A data set on the Hugging Face hub that loads without running its code."""

    repository: str
    configuration: str
    revision: str
    """Branch or commit that holds plain Parquet files."""
    label_names: tuple[str, ...]
    """The label each of the hub's integers stands for."""


@dataclass(frozen=True, kw_only=True)
class ClassificationTask:
    """Rows of text fields with one of a few labels, answered by writing a word; or with free text for a label.

    To add one: copy `cb.py`, change what differs, and add a line to `tasks/__init__.py`.
    """

    name: str
    """What `--task` calls it."""
    template: str
    """The source text, with the row's fields in braces."""
    answers: Mapping[str, str]
    """Target text of each label, in the official order. Empty for a task of free text: its labels are the targets."""
    folder: str = ""
    """Name of its folder in the official local layout, holding train.jsonl and val.jsonl."""
    hub: HubSource | None = None
    """The same on the hub."""
    generate: Callable[[Split], Iterator[Row]] | None = None
    """Makes the rows, for a task that ships with this package."""
    group_field: str = ""
    """Field that names an example's group."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The row fields the template reads."""
        from string import Formatter

        return tuple(field for _, field, _, _ in Formatter().parse(self.template) if field)

    def load(self, split: Split, data_dir: Path | None) -> list[Example]:
        """All examples of a split.

        Args:
            split: which.
            data_dir: folder that holds the task's official folder; None takes the hub, or the package itself.

        Raises:
            UserError: a file or row is missing or broken; the message names it.
        """
        where = f"{self.name}: the {split} split"
        if data_dir is not None and self.folder:
            path = data_dir / self.folder / {"train": "train.jsonl", "validation": "val.jsonl"}[split]
            where, rows = str(path), read_jsonl(path)
        elif self.generate is not None:
            rows = ((f"{self.name} {split} row {number}", row) for number, row in enumerate(self.generate(split), start=1))
        else:
            rows = self._hub_rows(split)
        examples = [self._example(place, row) for place, row in rows]
        if not examples:
            raise UserError(f"{where}: has no rows")
        return examples

    def _hub_rows(self, split: Split) -> Iterator[tuple[str, Row]]:
        if self.hub is None:
            raise UserError(f"{self.name}: is not on the hub; name the folder that holds {self.folder}/ by --data-dir")
        import datasets

        try:
            table = datasets.load_dataset(self.hub.repository, self.hub.configuration, split=split, revision=self.hub.revision)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{self.name}: {self.hub.repository} cannot be had from the hub ({reason}); give a local copy by --data-dir"
            ) from error
        for number, row in enumerate(table, start=1):
            named = dict(row)
            if isinstance(label := named.get("label"), int) and 0 <= label < len(self.hub.label_names):
                named["label"] = self.hub.label_names[label]
            yield f"{self.hub.repository} {split} row {number}", named

    def _example(self, place: str, row: Row) -> Example:
        for field in (*self.fields, "label"):
            if field not in row:
                raise UserError(f"{place}: field {field!r} is missing, found {', '.join(map(repr, row))}")
        for field in self.fields:
            if not isinstance(row[field], str):
                raise UserError(f"{place}: field {field!r} is {type(row[field]).__name__}, text was expected")
        label = str(row["label"]).lower() if isinstance(row["label"], bool) else str(row["label"])
        if not self.answers and not (isinstance(row["label"], str) and label.strip()):
            raise UserError(f"{place}: field 'label' is {row['label']!r}, a text was expected")
        if self.answers and label not in self.answers:
            raise UserError(f"{place}: label {label!r} is unknown, allowed are {', '.join(map(repr, self.answers))}")
        source = self.template.format(**{field: row[field].strip() for field in self.fields})
        return Example(source, self.answers[label] if self.answers else label.strip(), str(row.get(self.group_field, "")))


def read_jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    """Yields ("path:line", row) for each line that is not blank.

    Raises:
        UserError: the file cannot be read, or a line is not a JSON object.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                place = f"{path}:{number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise UserError(f"{place}: is not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise UserError(f"{place}: holds {type(row).__name__}, an object was expected")
                yield place, row
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error
