"""Files without a name: what is put in comes out, and nothing is left."""

import errno
import gc
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from vip_train.errors import UserError
from vip_train.scratch import Scratch


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_bytes_are_read_back_also_between_writes(folder: Path) -> None:
    scratch = Scratch()
    scratch.append(b"one")
    assert (scratch.read(0, 3), scratch.size) == (b"one", 3)
    scratch.append(b"two")
    assert (scratch.read(2, 3), scratch.size) == (b"etw", 6)
    assert list(folder.iterdir()) == []


def test_what_is_mapped_outlives_the_file_and_no_file_stays_open() -> None:
    gc.collect()
    before = open_files()
    scratch = Scratch()
    scratch.append(np.arange(5, dtype=np.int32).tobytes())
    found = scratch.mapped()
    del scratch
    gc.collect()
    assert found.tolist() == [0, 1, 2, 3, 4]
    del found
    gc.collect()
    assert open_files() == before


def test_a_full_disk_is_one_line_that_names_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    scratch = Scratch()
    monkeypatch.setattr(os, "pread", full)
    with pytest.raises(UserError) as caught:
        scratch.read(0, 1)
    assert str(caught.value) == f"{folder}: cannot hold what is read: No space left on device; TMPDIR names another folder"
