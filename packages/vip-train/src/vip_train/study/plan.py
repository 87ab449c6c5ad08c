"""The training runs that follow from a study."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vip_train.config import TrainConfig, parse
from vip_train.errors import UserError
from vip_train.runs import RESULTS_FILE, read_settings, settings, that_differs
from vip_train.splits import DataConfig
from vip_train.study.file import Study, check_own

_LONGEST = 200
"""Bytes that the name of a folder may have; most file systems take 255."""
_MAY_DIFFER = ("output", "engine", "checkpoint", "tracking")
"""Settings of a finished run that change nothing in its results."""


class Cell(NamedTuple):
    """One training run of a study."""

    task: str
    method: str
    axes: tuple[str, ...]
    """The value on each axis, as text."""
    seed: int
    path: Path
    """Its folder, below that of the study."""
    log: Path
    """File for what it says."""
    flags: tuple[str, ...]
    """What `vip-train train` is given."""
    config: TrainConfig
    """The same, resolved."""

    @property
    def name(self) -> str:
        """As messages call it."""
        return ", ".join([self.task, self.method, *self.axes, f"seed {self.seed}"])

    def is_finished(self) -> bool:
        """Whether the run is there, finished.

        Raises:
            UserError: it is, with other settings than it has now.
        """
        if not (self.path / RESULTS_FILE).is_file():
            return False
        if found := that_differs(read_settings(self.path), settings(self.config), _MAY_DIFFER):
            raise UserError(f"{self.path}: is a finished run {found}; remove it or choose another --output")
        return True


def plan(study: Study, output: Path, flags: Sequence[str] = (), *, path: Path = Path("study")) -> list[Cell]:
    """The training runs of a study, seed by seed, so that an early look at the table sees all methods.

    Args:
        study: from `read_study`.
        output: its folder.
        flags: settings of the command line, for every run.
        path: of the study file, for messages.

    Raises:
        UserError: the settings of a run are refused, or its task is unknown; the message names the run.
    """
    check_own((_setting(flag) for flag in flags if flag.startswith("--")), "flags of a study")
    cells = [_cell(study, output, flags, path, *which) for which in _cells(study)]
    places: dict[Path, Cell] = {}
    for cell in cells:
        if (other := places.setdefault(cell.path, cell)) is not cell:
            raise UserError(f"{path}: {other.name} and {cell.name} would share the folder {cell.path}; rename one")
    return cells


def _cells(study: Study) -> Iterator[tuple[int, str, tuple[Any, ...], str]]:
    return itertools.product(study.seeds, study.tasks, itertools.product(*study.axes.values()), study.methods)


def _cell(
    study: Study, output: Path, given: Sequence[str], path: Path, seed: int, task: str, values: tuple[Any, ...], method: str
) -> Cell:
    axes = tuple(f"{name}={_text(value)}" for name, value in zip(study.axes, values, strict=True))
    place = Path(*(_as_name(path, name) for name in (task, method, *axes, f"seed-{seed}")))
    folder, log = output / "runs" / place, output / "logs" / place.with_name(f"{place.name}.log")
    own = {**study.tasks[task], **study.methods[method], **dict(zip(study.axes, values, strict=True))}
    if "train_file" in {*study.base, *map(_setting, given), *own}:
        own["task"] = DataConfig.task  # a table of one's own is no task, whichever the file of settings names
    elif "task" not in own:
        own["task"] = task
    own |= {"optimizer.seed": seed, "output": str(folder)}
    start = [] if study.config is None else [f"--config={study.config}"]
    flags = (*start, *_flags(study.base), *given, *_flags(own))
    try:
        config = parse(TrainConfig, flags, prog="vip-train train")
        config.get_task()
    except UserError as error:
        raise UserError(f"{path}: {task}, {', '.join([method, *axes])}: {error}") from error
    return Cell(task, method, tuple(_text(value) for value in values), seed, folder, log, flags, config)


def _flags(given: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={_text(value)}" for name, value in given.items()]


def _text(value: Any) -> str:
    """As a flag has it; what is no text is null or a list."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _setting(flag: str) -> str:
    """The setting that a flag of the command line names."""
    return flag.removeprefix("--").partition("=")[0].replace("-", "_")


def _as_name(path: Path, text: str) -> str:
    """As the name of a folder."""
    name = re.sub(r"[^\w.=+:-]+", "-", text).strip("-.") or "-"
    if len(name.encode()) > _LONGEST:
        raise UserError(f"{path}: {text[:40]!r}... is too long for the name of a folder, {_LONGEST} bytes are allowed")
    return name
