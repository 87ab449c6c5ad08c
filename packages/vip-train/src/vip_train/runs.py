"""The folder of a run: new, to be continued, or refused; its metrics and checkpoints; and how it is finished."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from vip_train.checkpoint import Checkpoint, newest_good, write_checkpoint
from vip_train.config import TrainConfig, to_yaml
from vip_train.environment import extend
from vip_train.errors import UserError
from vip_train.files import new_folder, replace_file, write_synced

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
RESULTS_FILE = "results.json"
ENVIRONMENT_FILE = "environment.json"
CHECKPOINTS = "checkpoints"

_MAY_CHANGE = ("output", "engine", "checkpoint", "tracking", "backbone", "data_dir", "train_file", "validation_file")
"""Settings that a run may be continued under other values of. Of backbone and data the content has to be the same."""


def next_output(task: str, root: Path = Path("runs")) -> Path:
    """The first of runs/<task>-1, -2, ... that is not there."""
    number = 1
    while (root / f"{task.replace('/', '-')}-{number}").exists():
        number += 1
    return root / f"{task.replace('/', '-')}-{number}"


class RunFolder:
    """Only the first process uses it.

    A run makes it when its first step is due, so what is refused before leaves nothing behind. `results.json` comes last and
    says that the run is finished.

    Args:
        path: where.
        config: of the run.
    """

    def __init__(self, path: Path, config: TrainConfig) -> None:
        self.path = path
        self._config = config
        self._lock: int | None = None

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.path / CHECKPOINTS

    @property
    def is_begun(self) -> bool:
        """Whether a run was begun here."""
        return self.checkpoints.is_dir() and (self.path / CONFIG_FILE).is_file()

    def look(self) -> None:
        """Makes sure that the run can be made or continued here, without changing anything.

        Raises:
            UserError: the folder holds something else, a finished run, or one with other settings.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UserError(f"{self.path}: is a file, a folder is to be written there")
        if (self.path / RESULTS_FILE).exists():
            raise UserError(f"{self.path}: already holds files of a finished run; choose another folder or remove it")
        if not self.is_begun:
            if any(self.path.iterdir()):
                raise UserError(f"{self.path}: already holds files; choose another folder or remove it")
            return
        self._compare(read_settings(self.path))

    def _compare(self, before: dict[str, Any]) -> None:
        if found := that_differs(before, settings(self._config), _MAY_CHANGE):
            raise UserError(f"{self.path}: holds a run {found}; choose another folder")

    def resume(self, check: Callable[[Checkpoint], None], complain: Callable[[str], None]) -> list[bytes]:
        """The files of the newest good checkpoint of this run; none where it is new or has none yet."""

        def same_run(checkpoint: Checkpoint) -> None:
            self._compare(checkpoint.state.config)
            check(checkpoint)

        return newest_good(self.checkpoints, same_run, complain) if self.is_begun else []

    def begin(self, step: int, environment: dict[str, Any]) -> None:
        """Makes the folder, or takes a begun one back to a step.

        Args:
            step: the last one taken.
            environment: see `vip_train.environment.describe`.

        Raises:
            UserError: it cannot be written, or another process trains in it.
        """
        text = to_yaml(self._config).encode()
        if not self.is_begun:
            with new_folder(self.path) as temporary:
                (temporary / CHECKPOINTS).mkdir()
                write_synced(temporary / CONFIG_FILE, text)
                write_synced(temporary / ENVIRONMENT_FILE, extend(None, step, environment))
        with self._writing(CHECKPOINTS):
            self._lock = os.open(self.checkpoints, os.O_RDONLY)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"{self.path}: another process trains in it") from error
            except OSError:
                pass  # a file system without locks, such as Lustre mounted without them; what follows works there too
            for left in [*self.path.glob(".adapter*"), *self.path.glob(".model*")]:
                shutil.rmtree(left)  # a process was killed as it wrote what was learned
        with self._writing(METRICS_FILE):
            metrics = self.path / METRICS_FILE
            if metrics.exists():
                replace_file(metrics, b"".join(_lines_until(metrics, step)))
            if (self.path / CONFIG_FILE).read_bytes() != text:
                replace_file(self.path / CONFIG_FILE, text)
            path = self.path / ENVIRONMENT_FILE
            replace_file(path, extend(path.read_bytes() if path.exists() else None, step, environment))

    def close(self) -> None:
        """Lets others train here."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def record(self, line: dict[str, Any]) -> None:
        """Adds a line to the metrics."""
        with self._writing(METRICS_FILE):
            write_synced(self.path / METRICS_FILE, (json.dumps(line) + "\n").encode(), append=True)

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint."""
        write_checkpoint(self.checkpoints, checkpoint, keep=self._config.checkpoint.keep)

    def set_aside(self, name: str, content: dict[str, Any]) -> Path:
        """Writes something for a person to look at."""
        with self._writing(name):
            replace_file(self.path / name, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
        return self.path / name

    def finish(self, results: dict[str, Any]) -> None:
        """Writes the results; nothing is left to continue, so the checkpoints go."""
        with self._writing(RESULTS_FILE):
            replace_file(self.path / RESULTS_FILE, (json.dumps(results, indent=2) + "\n").encode())
        shutil.rmtree(self.checkpoints)

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.path / name}: cannot be written: {error.strerror or error}") from error


def settings(config: TrainConfig) -> dict[str, Any]:
    """All settings as plain values."""
    found: dict[str, Any] = yaml.safe_load(to_yaml(config))
    return found


def differences(one: Any, other: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with both; a key that one lacks has None there."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return {} if one == other else {prefix: (one, other)}
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*one, *(key for key in other if key not in one)]:
        found |= differences(one.get(key), other.get(key), f"{prefix}.{key}" if prefix else str(key))
    return found


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings that a run was begun with.

    Raises:
        UserError: they cannot be read.
    """
    path = folder / CONFIG_FILE
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: cannot be read: holds {type(found).__name__}, settings were expected")
    return found


def that_differs(before: dict[str, Any], now: dict[str, Any], may_differ: Sequence[str]) -> str:
    """What makes a run another one: "with a=1, it cannot go on with a=2"; empty if nothing does.

    Args:
        before: settings of the run.
        now: settings wanted.
        may_differ: first parts of names that are of no account.
    """
    for key, (old, new) in differences(before, now).items():
        if key.partition(".")[0] in may_differ:
            continue
        if not _has(before, key):
            return f"of an earlier release, without {key}"
        return f"with {key}={old}, it cannot go on with {key}={new}"
    return ""


def _has(found: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True


def _lines_until(metrics: Path, step: int) -> Iterator[bytes]:
    """The whole lines up to a step; a line that was being written when the process died has no end."""
    for number, line in enumerate(metrics.read_bytes().splitlines(keepends=True), start=1):
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                yield line
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{metrics}:{number}: is no line of metrics; remove it to go on") from error
