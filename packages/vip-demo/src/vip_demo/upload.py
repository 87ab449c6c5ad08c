"""Reads a data set that somebody uploads, row by row and with limits: .jsonl, .csv or .tsv."""

from pathlib import Path

from vip_train import UserError
from vip_train.tasks import Example
from vip_train.tasks.table import BadRow, TableRow, read_table, table_ending

from vip_demo.survey import MOST_TEXTS

LARGEST_FILE = 5_000_000
"""Bytes of an upload."""
COLUMNS = ("source", "target", "domain")
"""The first is needed."""


def read_upload(path: Path) -> list[Example]:
    """The rows as examples, at most `survey.MOST_TEXTS`; reading stops at the first row too many.

    Args:
        path: of a file with a column `source`, and perhaps `target`, the right answer, and `domain`.

    Raises:
        UserError: the file is too large, cannot be read, has a bad row or none; it names the file as it was uploaded.
    """
    try:
        ending = table_ending(path)
        size = path.stat().st_size
    except ValueError as error:
        raise UserError(f"{path.name}: the file must end in .jsonl, .csv or .tsv.") from error
    except OSError as error:
        raise UserError(f"{path.name}: the file is no longer there, upload it again.") from error
    if path.suffix == ".gz":
        raise UserError(f"{path.name}: unpack the file first; packed ones are not taken here.")
    if size > LARGEST_FILE:
        raise UserError(f"{path.name}: has {size / 1e6:.1f} MB, at most {LARGEST_FILE / 1e6:.0f} MB are taken.")
    try:
        return [_example(path, row) for row in _limited(path, ending)]
    except UserError as error:
        # A visitor knows the file by its name and not by where the server put it.
        raise UserError(str(error).replace(str(path), path.name)) from error


def _limited(path: Path, ending: str) -> list[TableRow]:
    rows: list[TableRow] = []
    for row in read_table(path, COLUMNS[:1], ending=ending):
        if isinstance(row, BadRow):
            raise row
        if len(rows) == MOST_TEXTS:
            raise UserError(f"{path}: has more than {MOST_TEXTS:,} rows, which is the most that is taken.")
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: has no rows.")
    return rows


def _example(path: Path, row: TableRow) -> Example:
    values = [row.values.get(name) or "" for name in COLUMNS]
    for name, value in zip(COLUMNS, values, strict=True):
        if not isinstance(value, str):
            raise UserError(f"{path}:{row.line}: column {name!r} holds {type(value).__name__}, text was expected")
    source, target, domain = (value.strip() for value in values)
    return Example(source, target, domain)
