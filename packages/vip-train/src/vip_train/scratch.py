"""What is too large for main memory, in the folder for temporary files (`TMPDIR`)."""

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from vip_train.errors import UserError


class Scratch:
    """A file that has no name, so nothing is left of it however the process ends. It is gone when nobody uses it."""

    def __init__(self) -> None:
        with _space():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed with this object
        weakref.finalize(self, self._file.close)
        self.size = 0
        """Bytes."""

    def append(self, content: bytes) -> None:
        """Adds bytes at the end.

        Raises:
            UserError: the disk is full.
        """
        with _space():
            self._file.write(content)
        self.size += len(content)

    def read(self, start: int, size: int) -> bytes:
        """Some of the bytes.

        Raises:
            UserError: the disk is full.
        """
        with _space():
            self._file.flush()
            return os.pread(self._file.fileno(), size, start)

    def mapped(self) -> Tensor:
        """All of it as int32, mapped into memory; at least one. It lives on without this object.

        Raises:
            UserError: the disk is full.
        """
        with _space():
            self._file.flush()
            return torch.from_numpy(np.memmap(self._file, dtype=np.int32, mode="r+"))


@contextmanager
def _space() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{tempfile.gettempdir()}: cannot hold what is read: {error.strerror or error}; TMPDIR names another folder"
        ) from error
