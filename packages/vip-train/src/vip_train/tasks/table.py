"""Reads tables of users, row by row: .jsonl, .csv and .tsv, each plain or as .gz. Bad rows are named by file, line and column.

A row stands in the line on which it begins. Lines end with LF or CRLF; those that are blank are passed over, and so is a byte
order mark. CSV and TSV are what Python's csv module takes in strict mode, with one row of column names at the top; a field in
quotes may hold line ends.
"""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from vip_train.errors import UserError
from vip_train.tasks.reading import ending_of, open_text, parse_object, unpacking

LONGEST = 2**24
"""Characters a row may have. What is longer is a bad row, and never in memory as a whole."""

_ENDINGS = {".jsonl": "", ".csv": ",", ".tsv": "\t"}
"""What stands between fields."""
_OTHER_DELIMITER = "; between fields a .csv has commas and a .tsv has tabs"
_NO_TEXT = re.compile("[\\x00\\ud800-\\udfff]")
_ESCAPED = "vip_train.escaped"


class BadRow(UserError):
    """A row that cannot be used; those after it can."""


class TableRow(NamedTuple):
    """One row as it stands in the file."""

    line: int
    """On which it begins, from 1."""
    values: Mapping[str, Any]
    """By column; of CSV and TSV all are text."""


def table_ending(path: Path) -> str:
    """The ending that says how a file is read: .jsonl, .csv or .tsv; one of .gz is not counted.

    Raises:
        ValueError: it has none of these.
    """
    if (ending := ending_of(path)) not in _ENDINGS:
        raise ValueError(f"{path} must end in {', '.join(_ENDINGS)} or one of these and .gz")
    return ending


def read_table(path: Path, columns: Sequence[str], encoding: str = "utf-8", *, ending: str = "") -> Iterator[TableRow | BadRow]:
    """Yields the rows, and what is wrong with those that are bad.

    Reading CSV or TSV raises the size that the csv module allows a field, which is one number for the whole process.

    Args:
        path: of the file.
        columns: that each row must have, among others.
        encoding: of the file.
        ending: .jsonl, .csv or .tsv, if its name does not say it.

    Raises:
        UserError: the file cannot be read or breaks off, or its first row does not name the columns.
    """
    with open_text(path, encoding=encoding, errors=_ESCAPED, newline="\n") as text:
        yield from _rows(_Lines(str(path), text, encoding), columns, _ENDINGS[ending or table_ending(path)])


def read_table_from(
    stream: IO[bytes], name: str, ending: str, columns: Sequence[str], encoding: str = "utf-8"
) -> Iterator[TableRow | BadRow]:
    """The same from a stream.

    Args:
        stream: of bytes.
        name: that messages have in place of a path.
        ending: .jsonl, .csv or .tsv.
        columns: as above.
        encoding: as above.

    Raises:
        UserError: as above.
    """
    text = io.TextIOWrapper(stream, encoding, errors=_ESCAPED, newline="\n")
    yield from _rows(_Lines(name, text, encoding), columns, _ENDINGS[ending])


def _rows(lines: "_Lines", columns: Sequence[str], delimiter: str) -> Iterator[TableRow | BadRow]:
    with unpacking(lines.path, lines.where):
        yield from _delimited(lines, columns, delimiter) if delimiter else _objects(lines, columns)


class _Lines:
    """The lines of a file; those that were taken can be put back."""

    def __init__(self, path: str, text: IO[str], encoding: str) -> None:
        self.path, self.encoding = path, encoding
        self.line = 0
        """Number of the line that was taken last."""
        self._text = text
        self._back: deque[str] = deque()

    def take(self) -> str:
        """The next line with its end, or "" after the last. One that is too long is cut, but still too long."""
        found = self._back.popleft() if self._back else self._read()
        self.line += bool(found)
        return found

    def put_back(self, lines: Sequence[str]) -> None:
        """Has the lines that were taken last taken again."""
        self._back.extendleft(reversed(lines))
        self.line -= len(lines)

    def _read(self) -> str:
        found = rest = self._text.readline(LONGEST + 1)
        while len(found) > LONGEST and rest and not rest.endswith("\n"):
            rest = self._text.readline(2**16)
        return found if self.line else found.removeprefix("\ufeff")

    def where(self) -> str:
        """How far the file was read."""
        return f" after line {self.line}" if self.line else " before its first line"

    def bad(self, line: int, reason: str) -> BadRow:
        """A row that begins on a line and why it is bad."""
        return BadRow(f"{self.path}:{line}: {reason}")

    def too_long(self, line: int) -> BadRow:
        """The same of a row whose end is too far."""
        return self.bad(line, f"is longer than {LONGEST} characters")

    def check_ends(self, line: str) -> None:
        """Refuses the file if a line that cannot be read is all of it, because lines end with CR alone."""
        if self.line == 1 and "\r" in line.rstrip("\r\n") and "\n" not in line:
            raise UserError(f"{self.path}: its lines end with CR alone, LF or CRLF was expected")

    def damage(self, text: str) -> str:
        """What the first character that is no text is; empty if there is none."""
        found = _NO_TEXT.search(text)
        if found is None:
            return ""
        if found[0] == "\0":
            return f"holds a NUL; is the file {self.encoding} text?"
        return f"holds the byte 0x{ord(found[0]) - 0xDC00:02x}, which is no {self.encoding} text there"


def _objects(lines: _Lines, columns: Sequence[str]) -> Iterator[TableRow | BadRow]:
    while line := lines.take():
        if line.strip():
            try:
                yield TableRow(lines.line, _object(lines, line, columns))
            except BadRow as bad:
                yield bad


def _object(lines: _Lines, line: str, columns: Sequence[str]) -> Mapping[str, Any]:
    if len(line) > LONGEST:
        lines.check_ends(line)
        raise lines.too_long(lines.line)
    damage = lines.damage(line)
    try:
        found = parse_object(f"{lines.path}:{lines.line}", line)
    except UserError as error:
        if damage:
            raise lines.bad(lines.line, damage) from error
        lines.check_ends(line)
        raise BadRow(str(error)) from error
    if damage:
        held = [name for name, value in found.items() if isinstance(value, str) and _NO_TEXT.search(value)]
        raise lines.bad(lines.line, f"column {held[0]!r}: {damage}" if held else damage)
    for name in columns:
        if name not in found:
            raise lines.bad(lines.line, f"column {name!r} is missing, found {', '.join(map(repr, found)) or 'none'}")
        if isinstance(value := found[name], str) and (half := _NO_TEXT.search(value)):
            raise lines.bad(lines.line, f"column {name!r}: holds {half[0]!r}, which is no text")
    return found


def _delimited(lines: _Lines, columns: Sequence[str], delimiter: str) -> Iterator[TableRow | BadRow]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
    names = _header(lines, columns, delimiter)
    while True:
        try:
            line, fields = _record(lines, delimiter, names)
        except BadRow as bad:
            yield bad
            continue
        if not fields:
            return
        if len(fields) == len(names):
            yield TableRow(line, dict(zip(names, fields, strict=True)))
        else:
            yield lines.bad(line, f"has {len(fields)} fields, the header has {len(names)}")


def _header(lines: _Lines, columns: Sequence[str], delimiter: str) -> list[str]:
    try:
        line, names = _record(lines, delimiter, [])
    except BadRow as bad:
        raise UserError(f"{bad}; the names of the columns were expected") from bad
    if not names:
        raise UserError(f"{lines.path}: is empty")
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise UserError(f"{lines.path}:{line}: column {number} has no name")
        if name in names[: number - 1]:
            raise UserError(f"{lines.path}:{line}: column {name!r} comes twice")
    for name in columns:
        if name not in names:
            hint = _OTHER_DELIMITER if len(names) == 1 and re.search("[,;\t]", names[0]) else ""
            raise UserError(f"{lines.path}:{line}: column {name!r} is missing, found {', '.join(map(repr, names))}{hint}")
    return names


def _record(lines: _Lines, delimiter: str, names: Sequence[str]) -> tuple[int, list[str]]:
    """The line on which the next record begins, and its fields; none at the end of the file.

    Where a record has no end or a broken one, the lines after its first are read again: only that line is lost, and a quote
    that is never closed takes nothing else with it.
    """
    while (first := lines.take()) and not first.strip(" \r\n"):
        pass
    begin, taken = lines.line, [first]

    def feed() -> Iterator[str]:
        size = len(first)
        while taken[-1]:
            if size > LONGEST:
                raise lines.too_long(begin)
            yield taken[-1]
            taken.append(lines.take())
            size += len(taken[-1])

    try:
        fields = next(csv.reader(feed(), delimiter=delimiter, strict=True), [])
    except (csv.Error, BadRow) as error:
        lines.put_back([line for line in taken[1:] if line])
        lines.check_ends(first)
        if isinstance(error, BadRow):
            raise
        raise lines.bad(begin, _broken(error, len(taken) > 1)) from error
    for number, field in enumerate(fields, start=1):
        if damage := lines.damage(field):
            name = names[number - 1] if number <= len(names) else str(number)
            raise lines.bad(begin, f"column {name!r}: {damage}")
    return begin, fields


def _broken(error: csv.Error, has_more_lines: bool) -> str:
    where = ", in a field in quotes that goes on over the end of the line" if has_more_lines else ""
    return f"cannot be split into fields: {error}{where}"


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Puts a code that no text has in the place of each byte that cannot be decoded; `_Lines.damage` finds it."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ESCAPED, _escape)
