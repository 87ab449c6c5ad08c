"""Reads the files that data sets are published in: text or gzip, JSON lines, one JSON document. Errors name file and line."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vip_train.errors import UserError

Row = Mapping[str, Any]
"""One row of a file, as it stands there."""
Placed = tuple[str, Row]
"""A row and where it stands: "path:line", or "path: record"."""


def find_file(data_dir: Path, folder: str, names: Sequence[str]) -> Path:
    """The first of the files that is there, plain or as .gz: in `data_dir/folder`, or in that folder one level down.

    So `data_dir` may be what holds CB, or what holds superglue/CB and other collections.

    Raises:
        UserError: there is none, or there are several such folders.
    """
    for name in [given + ending for given in names for ending in ("", ".gz")]:
        if (path := data_dir / folder / name).exists():
            return path
        found = sorted(data_dir.glob(f"*/{folder}/{name}"))
        if len(found) > 1:
            raise UserError(f"data_dir={data_dir}: holds both {found[0]} and {found[1]}; name the folder above one of them")
        if found:
            return found[0]
    raise UserError(f"{data_dir / folder / names[0]}: no such file")


def ending_of(path: Path) -> str:
    """The ending of a file's name, such as .csv, or "" if it has none; one of .gz is not counted."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix


@contextmanager
def unpacking(name: str, where: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Within it a .gz that is damaged or breaks off is said.

    Args:
        name: of the file.
        where: says how far it was read, with a space before it.

    Raises:
        UserError: the file cannot be unpacked any further.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{name}: cannot be unpacked{where()}: {error}") from error


@contextmanager
def open_text(
    path: Path, *, encoding: str = "utf-8-sig", errors: str = "strict", newline: str | None = None
) -> Iterator[IO[str]]:
    """Opens text, by default UTF-8 with its byte order mark passed over; through gzip where the name ends in .gz.

    Args:
        path: of the file.
        encoding: of the text; this and the next two as for `open`.
        errors: what becomes of bytes that are no such text.
        newline: where lines end.

    Raises:
        UserError: it cannot be read, is no such text, or breaks off.
    """
    try:
        with unpacking(str(path)):
            if path.suffix == ".gz":
                with gzip.open(path, "rt", encoding=encoding, errors=errors, newline=newline) as text:
                    yield text
            else:
                with path.open(encoding=encoding, errors=errors, newline=newline) as text:
                    yield text
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeError) as error:
        named = encoding.removesuffix("-sig").upper()
        raise UserError(f"{path}: cannot be read as {named} text: {error}") from error


def read_jsonl(path: Path) -> Iterator[Placed]:
    """Yields ("path:line", row) for each line that is not blank.

    Raises:
        UserError: the file cannot be read, or a line is not a JSON object.
    """
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                place = f"{path}:{number}"
                yield place, parse_object(place, line)


def parse_object(place: str, line: str, *, strict: bool = False) -> Row:
    """The object that a line of JSON lines is.

    Args:
        place: of the line, for the error.
        line: that is not blank.
        strict: whether NaN and Infinity are refused, which JSON does not have and Python reads.

    Raises:
        UserError: it is not a JSON object.
    """
    try:
        found = json.loads(line, parse_constant=_refuse if strict else None)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: is not JSON: {error.msg} at character {error.colno}") from error
    except ValueError as error:
        raise UserError(f"{place}: is not JSON: {error}") from error
    except RecursionError as error:
        raise UserError(f"{place}: is JSON too deep to be read") from error
    if not isinstance(found, dict):
        raise UserError(f"{place}: holds {type(found).__name__}, an object was expected")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def read_json(path: Path) -> Any:
    """A whole JSON document.

    Raises:
        UserError: the file cannot be read or is not JSON.
    """
    with open_text(path) as text:
        try:
            return json.load(text)
        except ValueError as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            raise UserError(f"{path}: is not JSON: {error}") from error
        except RecursionError as error:
            raise UserError(f"{path}: is JSON too deep to be read") from error
