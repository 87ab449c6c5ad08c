"""Commands as they are refused."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from vip_train.cli import main

Feed = Callable[[bytes], None]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    """Puts something into stdin."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def refused(saved: Path, feed: Feed, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which a command fails on the saved adapter, and on what is fed into stdin."""

    def run(command: str, *flags: object, stdin: str | bytes = "") -> str:
        feed(stdin.encode() if isinstance(stdin, str) else stdin)
        assert main([command, "--adapter", str(saved), *map(str, flags)]) == 2
        said = capfd.readouterr()
        assert said.out == ""
        (line,) = [line for line in said.err.splitlines() if not line.startswith("the answers are those of ")]
        assert line.startswith("vip-train: ")
        return line.removeprefix("vip-train: ")

    return run
