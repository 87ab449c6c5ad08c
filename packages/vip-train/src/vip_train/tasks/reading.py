"""Reads the files that data sets are published in: text or gzip, JSON lines, one JSON document. Errors name file and line."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding=encoding, errors=errors, newline=newline) as text:
                yield text
        else:
            with path.open(encoding=encoding, errors=errors, newline=newline) as text:
                yield text
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: cannot be unpacked: {error}") from error
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
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{place}: is not JSON: {error}") from error
            except RecursionError as error:
                raise UserError(f"{place}: is JSON too deep to be read") from error
            if not isinstance(row, dict):
                raise UserError(f"{place}: holds {type(row).__name__}, an object was expected")
            yield place, row


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
