"""What a task is: where its rows come from, how a row becomes text, which answers it allows and how they are scored."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Literal, NamedTuple, Protocol

from vip_train.errors import UserError
from vip_train.tasks.fields import field as field_of
from vip_train.tasks.reading import Placed, Row, find_file, read_jsonl

Split = Literal["train", "validation", "test"]


class Example(NamedTuple):
    """One row as text."""

    source: str
    """What the encoder reads."""
    target: str
    """What the decoder should write."""
    group: str
    """The part of the data it belongs to, such as its domain; empty if there is none. Never shown to the model."""
    references: tuple[str, ...] = ()
    """What free text is compared with: all right answers, or a sentence's "token tag" pairs. Empty: the target alone."""
    question: str = ""
    """Name of the question it belongs to, where several examples are one question."""
    task: str = ""
    """The part of a mixture it comes from; empty outside of one."""


class Reading(NamedTuple):
    """One example as read, before it is worded."""

    texts: Mapping[str, str]
    """The fields of the template."""
    label: str
    """Its label; the right answer itself where answers are free text."""
    group: str = ""
    references: tuple[str, ...] = ()
    question: str = ""


Parse = Callable[[str, Row], Iterable[Reading]]
"""Makes the examples of one published row, given its place: one, or several as in MultiRC, or none."""


class HubSource(NamedTuple):
    """A data set on the Hugging Face hub that loads without running its code.

    Names, columns and labels of those in this package are known from their pages and from others' code; loading them could not
    be tried, there was no network.
    """

    repository: str
    configuration: str
    revision: str
    """Branch or commit that holds plain Parquet files."""
    label_names: tuple[str, ...] = ()
    """The label each integer in the field `label` stands for."""
    splits: Mapping[Split, str] | None = None
    """What it calls the splits, if not train and validation."""
    where: tuple[str, str] | None = None
    """A column and the value its rows must have there."""


class Part(Protocol):
    """What examples are scored by."""

    @property
    def answers(self) -> Mapping[str, str]:
        """Target text of each label; empty where answers are free text."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics, the first one first."""


class Task(Protocol):
    """What can be trained: one task or a mixture of several."""

    @property
    def name(self) -> str:
        """What `--task` calls it."""

    @property
    def answers(self) -> Mapping[str, str]:
        """Target text of each label; empty if not all examples have the same fixed answers."""

    @property
    def parts(self) -> Mapping[str, Part]:
        """The task that examples belong to, by `Example.task`."""

    @property
    def weights(self) -> Mapping[str, float]:
        """How much of training each part gets; one with 0 is evaluated only."""

    def load(self, split: Split, data_dir: Path | None) -> Sequence[Example]:
        """All examples of a split; see `TextTask.load`."""


@dataclass(frozen=True, kw_only=True)
class TextTask:
    """Rows of text fields, answered by writing one of a few words, one for each label, or free text.

    To add one: copy `cb.py`, change what differs, and add a line to `tasks/__init__.py`.
    """

    name: str
    """What `--task` calls it."""
    template: str
    """The source text, with the row's fields in braces."""
    answers: Mapping[str, str]
    """Target text of each label, in the official order. Empty for a task of free text: its labels are the targets."""
    metrics: tuple[str, ...] = ("accuracy",)
    """Names of its metrics; the first chooses the best prompt of a run."""
    folder: str = ""
    """Name of its folder in the official local layout."""
    files: Mapping[Split, tuple[str, ...]] = field(
        default_factory=lambda: {"train": ("train.jsonl",), "validation": ("val.jsonl",)}
    )
    """File of each split in that folder, of several names the first that is there. A task may have none to train on."""
    read: Callable[[Path], Iterable[Placed]] = read_jsonl
    """Reads the rows of such a file, in the layout that rows have on the hub."""
    texts: Callable[[str, Row], Mapping[str, str]] | None = None
    """Makes the fields of the template from a row, which may have no label, given its place. By default they are its own."""
    parse: Parse | None = None
    """Makes the examples of a row. By default one, of the fields of the template and the field `label`."""
    hub: HubSource | None = None
    """The same on the hub."""
    generate: Callable[[Split], Iterator[Row]] | None = None
    """Makes the rows, for a task that ships with this package."""
    group_field: str = ""
    """Field that names an example's group, where `parse` is the default."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The row fields the template reads."""
        return tuple(field for _, field, _, _ in Formatter().parse(self.template) if field)

    @property
    def parts(self) -> "Mapping[str, TextTask]":
        """See `Task`."""
        return {"": self}

    @property
    def weights(self) -> Mapping[str, float]:
        """See `Task`."""
        return {"": 1.0}

    def load(self, split: Split, data_dir: Path | None) -> list[Example]:
        """All examples of a split.

        Args:
            split: which.
            data_dir: folder that holds the task's official folder; None takes the hub, or the package itself.

        Raises:
            UserError: a file or row is missing or broken, or there is no such split; the message names it.
        """
        if split not in self.files:
            only = ", an adapter can only be evaluated on it" if split == "train" else ""
            raise UserError(f"{self.name}: has no {split} split{only}")
        where = f"{self.name}: the {split} split"
        rows: Iterable[Placed]
        if data_dir is not None and self.folder:
            path = find_file(data_dir, self.folder, self.files[split])
            where, rows = str(path), self.read(path)
        elif self.generate is not None:
            rows = ((f"{self.name} {split} row {number}", row) for number, row in enumerate(self.generate(split), start=1))
        else:
            rows = self._hub_rows(split)
        parse = self.parse or self._plain
        examples = [self._example(place, found) for place, row in rows for found in parse(place, row)]
        if not examples:
            raise UserError(f"{where}: has no rows")
        return examples

    def _hub_rows(self, split: Split) -> Iterator[Placed]:
        if self.hub is None:
            raise UserError(f"{self.name}: is not on the hub; name the folder that holds {self.folder}/ by --data-dir")
        import datasets

        hub = self.hub
        name = hub.splits[split] if hub.splits else split
        try:
            table = datasets.load_dataset(hub.repository, hub.configuration, split=name, revision=hub.revision)
            if hub.where is not None:
                column, wanted = hub.where
                table = table.filter(lambda value: value == wanted, input_columns=[column])
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{self.name}: {hub.repository} cannot be had from the hub ({reason}); give a local copy by --data-dir"
            ) from error
        for number, row in enumerate(table, start=1):
            named = dict(row)
            if isinstance(label := named.get("label"), int) and 0 <= label < len(hub.label_names):
                named["label"] = hub.label_names[label]
            yield f"{hub.repository} {name} row {number}", named

    def read_texts(self, place: str, row: Row) -> Mapping[str, str]:
        """The fields of the template, from a row as it is on the hub. No label is needed.

        Raises:
            UserError: the row lacks what they are made of.
        """
        if self.texts is not None:
            return self.texts(place, row)
        return {name: field_of(place, row, name, str) for name in self.fields}

    def word(self, texts: Mapping[str, str]) -> str:
        """The source text made of the fields of the template."""
        return self.template.format(**{name: texts[name].strip() for name in self.fields})

    def _plain(self, place: str, row: Row) -> Iterator[Reading]:
        texts = self.read_texts(place, row)
        if "label" not in row:
            raise UserError(f"{place}: field 'label' is missing, found {', '.join(map(repr, row))}")
        label = str(row["label"]).lower() if isinstance(row["label"], bool) else str(row["label"])
        if not self.answers and not (isinstance(row["label"], str) and label.strip()):
            raise UserError(f"{place}: field 'label' is {row['label']!r}, a text was expected")
        yield Reading(texts, label, str(row.get(self.group_field, "")))

    def _example(self, place: str, found: Reading) -> Example:
        if self.answers and found.label not in self.answers:
            allowed = ", ".join(map(repr, self.answers))
            raise UserError(f"{place}: label {found.label!r} is unknown, allowed are {allowed}")
        target = self.answers[found.label] if self.answers else found.label.strip()
        return Example(self.word(found.texts), target, found.group, found.references, found.question)
