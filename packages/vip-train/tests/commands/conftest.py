"""Commands in this process: what they are fed, what they answer and how they refuse."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.cli import main

Ask = Callable[..., list[dict[str, Any]]]
Feed = Callable[[bytes], None]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    """Puts something into stdin."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def ask(saved: Path, feed: Feed, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Has `vip-train predict` answer what is fed into stdin; returns the lines of stdout."""

    def run(data: str | bytes, *flags: object, adapter: Path = saved) -> list[dict[str, Any]]:
        feed(data.encode() if isinstance(data, str) else data)
        capfd.readouterr()
        status = main(["predict", "--adapter", str(adapter), *map(str, flags)])
        said = capfd.readouterr()
        assert status == 0, said.err
        return [json.loads(line) for line in said.out.splitlines()]

    return run


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
