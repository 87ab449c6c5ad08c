"""Writing files so that a reader never sees half of one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vip_train.errors import UserError


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary folder beside `target` that becomes `target` on success and vanishes on any error.

    Args:
        target: the folder to create. An empty one may be there already.
        replace: whether a folder with content may be there; it is swapped out only once the new one is complete.

    Raises:
        UserError: `target` is in use, is a file, or its parent cannot be written.
    """
    if target.is_symlink() and not target.exists():
        raise UserError(f"{target}: is a link to nothing, a folder is to be written there")
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file, a folder is to be written there")
    if not replace and target.is_dir() and any(target.iterdir()):
        raise UserError(f"{target}: already holds files; choose another folder or remove it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise UserError(f"{target}: cannot be created: {error.strerror}") from error
    try:
        temporary.chmod(0o755)
        yield temporary
        # Some writers leave files that only their owner can read.
        for path in temporary.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if target.is_dir():
            retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.replace(retired / "old")
            temporary.replace(target)
            shutil.rmtree(retired)
        else:
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_file(target: Path, *, replace: bool = False) -> Iterator[IO[bytes]]:
    """Yields a temporary file beside `target` that becomes `target` on success and vanishes on any error.

    Args:
        target: the file to write, in a folder that is there.
        replace: whether there may be such a file already; it stays until the new one is complete.

    Raises:
        UserError: `target` is there, or is no file, or cannot be written.
    """
    if target.exists() and not target.is_file():
        raise UserError(f"{target}: is no ordinary file")
    if target.exists() and not replace:
        raise UserError(f"{target}: is there already; choose another name, or say --overwrite true")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise UserError(f"{target}: cannot be created: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_synced(path: Path, data: bytes, *, append: bool = False) -> None:
    """Writes a file and waits until the disk has it."""
    with path.open("ab" if append else "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the names in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file so that a reader sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        write_synced(temporary, data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
