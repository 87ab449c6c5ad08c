"""Rows that wait for an answer: JSON lines, plain text or a table. A bad row is named by file, line and column."""

import gzip
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vip_train.errors import UserError
from vip_train.lines import STANDARD
from vip_train.tasks import TextTask
from vip_train.tasks.fields import field
from vip_train.tasks.reading import Row, ending_of, parse_object, unpacking
from vip_train.tasks.table import BadRow, TableRow, read_table, read_table_from

Format = Literal["auto", "jsonl", "text", "csv", "tsv"]

_MARK = b"\xef\xbb\xbf"
"""A byte order mark, which some editors begin a file with."""
_ENDINGS: dict[str, Format] = {".jsonl": "jsonl", ".txt": "text", ".csv": "csv", ".tsv": "tsv"}
_IDS = ("id", "idx")
"""Columns that may name a row; the first that is there does."""


class Source(NamedTuple):
    """One row."""

    line: int
    """Where it stands, from 1."""
    name: dict[str, Any]
    """Its `id` if it has one."""
    text: str
    """What the encoder reads."""


class Sources:
    """The rows of a file, one after the other; only the one at hand is in memory.

    Args:
        path: of the file, packed if its name ends in .gz, or `STANDARD` for stdin.
        form: `auto` goes by the ending of the name. Where there is none, as of stdin, the rows are JSON lines if the first one
            begins with a brace. `csv` and `tsv` are tables with the columns' names on top.
        column: of the text.
        task: words the rows, which have the columns of its template then; of one with a single column rows may be text.
        skip_bad: whether bad rows are passed over and counted.
        encoding: of a table; JSON lines and text are UTF-8.

    Raises:
        UserError: there is no such file, or its ending says nothing.
    """

    def __init__(
        self, path: Path, form: Format, column: str, task: TextTask | None, *, skip_bad: bool, encoding: str = "utf-8"
    ) -> None:
        self.name = "<stdin>" if path == STANDARD else str(path)
        self.skipped = 0
        """How many bad rows were passed over."""
        self.first_skipped = ""
        """What was wrong with the first of them."""
        self._encoding = encoding
        self._path, self._form, self._column, self._task, self._skip_bad = path, form, column, task, skip_bad
        if path != STANDARD and (not path.exists() or path.is_dir()):
            raise UserError(f"{path}: no such file")
        if form == "auto" and (ending := ending_of(path)):
            if ending not in _ENDINGS:
                raise UserError(f"{path}: ends in none of {', '.join(_ENDINGS)}; say what it is by --input-format")
            self._form = _ENDINGS[ending]
        self._is_table = self._form in ("csv", "tsv")

    def __iter__(self) -> Iterator[Source]:
        return self._of_table() if self._is_table else self._of_lines()

    def _of_table(self) -> Iterator[Source]:
        columns = [self._column] if self._task is None else [] if self._task.texts else self._task.fields
        for found in self._table(columns):
            try:
                if isinstance(found, BadRow):
                    raise found
                place = f"{self.name}:{found.line}"
                yield Source(found.line, _name(place, found.values), self._worded(place, found.values))
            except UserError as error:
                self._pass_over(error)

    def _table(self, columns: Sequence[str]) -> Iterator[TableRow | BadRow]:
        if self._path == STANDARD:
            stream = sys.stdin.buffer if sys.stdin else io.BytesIO()
            return read_table_from(stream, self.name, f".{self._form}", columns, self._encoding)
        return read_table(self._path, columns, self._encoding, ending=f".{self._form}")

    def _of_lines(self) -> Iterator[Source]:
        lines = self._lines()
        form, begin = self._form, []
        if form == "auto":
            for line in lines:
                begin.append(line)
                if line.strip():
                    break
            form = "jsonl" if begin and begin[-1].removeprefix(_MARK).lstrip().startswith(b"{") else "text"
        column = self._column if self._task is None else self._only_column(self._task) if form == "text" else ""
        for number, line in enumerate(chain(begin, lines), start=1):
            place = f"{self.name}:{number}"
            try:
                text = _decoded(place, line.removeprefix(_MARK) if number == 1 else line)
                if form == "text":
                    yield Source(number, {}, self._worded(place, {column: text}))
                elif text.strip():
                    row = parse_object(place, text, strict=True)
                    yield Source(number, _name(place, row), self._worded(place, row))
            except UserError as error:
                self._pass_over(error)

    def _pass_over(self, bad: UserError) -> None:
        if not self._skip_bad:
            raise bad
        self.skipped += 1
        self.first_skipped = self.first_skipped or str(bad)

    def _lines(self) -> Iterator[bytes]:
        try:
            if self._path == STANDARD:
                # A shell may have closed it; then Python has none.
                yield from sys.stdin.buffer if sys.stdin else ()
            else:
                with (
                    unpacking(self.name),
                    gzip.open(self._path) if self._path.suffix == ".gz" else self._path.open("rb") as lines,
                ):
                    yield from lines
        except OSError as error:
            raise UserError(f"{self.name}: cannot be read: {error.strerror}") from error

    def _only_column(self, task: TextTask) -> str:
        if len(task.fields) != 1 or task.texts is not None:
            raise UserError(f"{self.name}: is text, and a row of {task.name} is more than one text; give it as JSON lines")
        return task.fields[0]

    def _worded(self, place: str, row: Row) -> str:
        if self._task is None:
            texts: Mapping[str, str] = {self._column: field(place, row, self._column, str)}
        else:
            texts = self._task.read_texts(place, row)
        what = "column" if self._is_table else "field"
        for name, text in texts.items():
            if not text.strip():
                raise UserError(f"{place}: {what} {name!r} is blank")
            if not _is_unicode(text):
                raise UserError(f"{place}: {what} {name!r} holds half of a surrogate pair, which is no character")
        return texts[self._column] if self._task is None else self._task.word(texts)


def _decoded(place: str, line: bytes) -> str:
    """A line without its end."""
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: is not UTF-8: {error.reason} at byte {error.start + 1}") from error


def _name(place: str, row: Row) -> dict[str, Any]:
    column = next((name for name in _IDS if name in row), None)
    if column is None:
        return {}
    try:
        # A number may be too large for JSON's readers, a text no Unicode.
        json.dumps(row[column], ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: field {column!r} cannot be written again: {error}") from error
    return {"id": row[column]}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
