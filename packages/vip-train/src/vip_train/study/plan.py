"""The training runs that follow from a study."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vip_train.config import TrainConfig, parse
from vip_train.errors import UserError
from vip_train.runs import RESULTS_FILE, read_settings, settings, that_differs
from vip_train.splits import DataConfig
from vip_train.study.file import Settings, Study, check_own

_LONGEST = 200
"""Bytes that the name of a folder may have; most file systems take 255."""
_MAY_DIFFER = ("output", "engine", "checkpoint", "tracking")
"""Settings of a finished run that change nothing in its results."""


Place = tuple[str, tuple[str, ...], str]
"""Task, value on each axis, method."""


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
    tried: tuple[str, ...] = ()
    """In a search, the values that are tried, as text."""

    @property
    def name(self) -> str:
        """As messages call it."""
        return ", ".join([self.task, self.method, *self.axes, *self.tried, f"seed {self.seed}"])

    @property
    def place(self) -> Place:
        """What a search is made for."""
        return self.task, self.axes, self.method

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


def plan(
    study: Study,
    output: Path,
    flags: Sequence[str] = (),
    *,
    path: Path = Path("study"),
    chosen: Mapping[Place, Settings] | None = None,
) -> list[Cell]:
    """The training runs of a study, seed by seed, so that an early look at the table sees all methods.

    Args:
        study: from `read_study`.
        output: its folder.
        flags: settings of the command line, for every run.
        path: of the study file, for messages.
        chosen: what a search found; until then the first candidates.

    Raises:
        UserError: the settings of a run are refused, or its task is unknown; the message names the run.
    """
    planner = _Planner(study, output, flags, path)
    cells = []
    for seed, (task, values, method) in itertools.product(study.seeds, planner.places()):
        found = study.candidates(method)[0] if chosen is None else chosen.get((task, planner.axes(values), method), {})
        cells.append(planner.cell("runs", seed, task, values, method, found))
    return planner.checked(cells)


def plan_search(study: Study, output: Path, flags: Sequence[str] = (), *, path: Path = Path("study")) -> list[Cell]:
    """The training runs of a study's search, none if nothing is searched. For its arguments and errors see `plan`."""
    planner = _Planner(study, output, flags, path)
    cells = [
        planner.cell("search", seed, task, values, method, candidate, tried=True)
        for seed, (task, values, method) in itertools.product(study.search_seeds, planner.places())
        if len(study.candidates(method)) > 1
        for candidate in study.candidates(method)
    ]
    return planner.checked(cells)


def as_tried(candidate: Settings) -> tuple[str, ...]:
    """The values of a candidate as text."""
    return tuple(f"{name}={_text(value)}" for name, value in candidate.items())


class _Planner:
    def __init__(self, study: Study, output: Path, flags: Sequence[str], path: Path) -> None:
        check_own((_setting(flag) for flag in flags if flag.startswith("--")), "flags of a study")
        self._study, self._output, self._flags, self._path = study, output, flags, path

    def places(self) -> list[tuple[str, tuple[Any, ...], str]]:
        """Every task, every value of every axis, every method."""
        study = self._study
        return list(itertools.product(study.tasks, itertools.product(*study.axes.values()), study.methods))

    def axes(self, values: Sequence[Any]) -> tuple[str, ...]:
        """Values on the axes as text."""
        return tuple(_text(value) for value in values)

    def checked(self, cells: list[Cell]) -> list[Cell]:
        """The cells, each in a folder of its own."""
        places: dict[Path, Cell] = {}
        for cell in cells:
            if (other := places.setdefault(cell.path, cell)) is not cell:
                raise UserError(f"{self._path}: {other.name} and {cell.name} would share the folder {cell.path}; rename one")
        return cells

    def cell(
        self, kind: str, seed: int, task: str, values: tuple[Any, ...], method: str, candidate: Settings, *, tried: bool = False
    ) -> Cell:
        """A run, below the folder of its kind."""
        study, path = self._study, self._path
        tries = as_tried(candidate) if tried else ()
        axes = tuple(f"{name}={_text(value)}" for name, value in zip(study.axes, values, strict=True))
        place = Path(*(_as_name(path, name) for name in (task, method, *axes, *tries, f"seed-{seed}")))
        folder = self._output / kind / place
        log = self._output / "logs" / ("search" if tried else "") / place.with_name(f"{place.name}.log")
        own = {**study.tasks[task], **study.methods[method], **candidate, **dict(zip(study.axes, values, strict=True))}
        if "train_file" in {*study.base, *map(_setting, self._flags), *own}:
            own["task"] = DataConfig.task  # a table of one's own is no task, whichever the file of settings names
        elif "task" not in own:
            own["task"] = task
        own |= {"optimizer.seed": seed, "output": str(folder)}
        if tried:
            own["test_task"] = ""  # what is chosen among sees no test row
        start = [] if study.config is None else [f"--config={study.config}"]
        flags = (*start, *_flags(study.base), *self._flags, *_flags(own))
        try:
            config = parse(TrainConfig, flags, prog="vip-train train")
            config.get_task()
            if study.score == "test" and not (config.test_task or tried):
                raise UserError("score=test needs a test_task")
        except UserError as error:
            raise UserError(f"{path}: {task}, {', '.join([method, *axes, *tries])}: {error}") from error
        return Cell(task, method, self.axes(values), seed, folder, log, flags, config, tries)


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
