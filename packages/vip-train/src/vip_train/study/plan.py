"""What a study is made of, as its YAML file says it, and the training runs that follow.

    config: ../configs/paper.yaml             # optional: a file for --config that every run starts from, seen from this one
    base:                                     # optional: settings of every run on top of it, nested or with dots
      optimizer: {steps: 300}
    methods:                                  # settings that make a method what it is
      PT: {vip.method: pt, optimizer.prompt_learning_rate: 0.1}
      VIP: {}
    tasks: [superglue/cb, superglue/rte]      # or by name, with settings of their own, {all NLI: {task: anli/r1+anli/r2}}
    seeds: [0, 1, 2]
    axes: {vip.quantizer.codes: [20, 40]}     # optional: any settings, every value with every other
    baseline: PT                              # optional: the method that others are compared with

Of two values for one setting that of the axis wins, then the method's, the task's, the command line's, the base's, and last the
config's.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vip_train.config import TrainConfig, parse
from vip_train.errors import UserError
from vip_train.runs import CONFIG_FILE, RESULTS_FILE, difference_that_matters, settings
from vip_train.tasks import get_task

Settings = dict[str, Any]
"""Values by dotted name."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study file; see the top of this module."""

    config: Path | None
    base: Settings
    methods: dict[str, Settings]
    tasks: dict[str, Settings]
    seeds: tuple[int, ...]
    axes: dict[str, tuple[Any, ...]]
    baseline: str | None


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
        try:
            before = yaml.safe_load((self.path / CONFIG_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"{self.path / CONFIG_FILE}: cannot be read: {' '.join(str(error).split())}") from error
        if found := difference_that_matters(before, settings(self.config)):
            key, old, new = found
            raise UserError(
                f"{self.path}: was finished with {key}={old}, now it is {new}; remove it or choose another --output"
            )
        return True


def read_study(path: Path) -> Study:
    """Reads a study file.

    Raises:
        UserError: it cannot be read, or a key is unknown, missing or not what it should be.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds {type(found).__name__}, the keys of a study were expected")
    known = [field.name for field in fields(Study)]
    if unknown := [key for key in found if key not in known]:
        raise UserError(f"{path}: key {unknown[0]!r} is unknown, known are {', '.join(known)}")
    for key in ("methods", "tasks", "seeds"):
        if not found.get(key):
            raise UserError(f"{path}: key {key!r} is missing or empty")
    methods = {
        name: _flat(path, f"methods.{name}", given) for name, given in _mapping(path, "methods", found["methods"]).items()
    }
    tasks = found["tasks"] if isinstance(found["tasks"], dict) else dict.fromkeys(_list(path, "tasks", found["tasks"], str))
    axes = {
        name: tuple(_list(path, f"axes.{name}", given)) for name, given in _mapping(path, "axes", found.get("axes")).items()
    }
    for name, values in axes.items():
        if any(isinstance(value, dict | list) for value in values) or len({*map(_text, values)}) < len(values):
            raise UserError(f"{path}: axes.{name} must be a list of different single values")
    seeds = tuple(_list(path, "seeds", found["seeds"], int))
    if len({*seeds}) < len(seeds):
        raise UserError(f"{path}: seeds={list(seeds)} must be different")
    baseline = found.get("baseline")
    if baseline is not None and baseline not in methods:
        raise UserError(f"{path}: baseline={baseline} must be one of the methods {', '.join(methods)}")
    config = found.get("config")
    if config is not None and not isinstance(config, str):
        raise UserError(f"{path}: config={config} must be the name of a file")
    return Study(
        config=None if config is None else path.parent / config,
        base=_flat(path, "base", found.get("base")),
        methods=methods,
        tasks={name: _flat(path, f"tasks.{name}", given) for name, given in tasks.items()},
        seeds=seeds,
        axes=axes,
        baseline=baseline,
    )


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
    names = [_as_name(name) for name in (task, method, *axes, f"seed-{seed}")]
    folder, log = output / "runs" / Path(*names), output / "logs" / f"{'_'.join(names)}.log"
    own = {**study.tasks[task], **study.methods[method], **dict(zip(study.axes, values, strict=True))}
    if "task" not in own:
        own["task"] = task
    own |= {"optimizer.seed": seed, "output": str(folder)}
    start = [] if study.config is None else [f"--config={study.config}"]
    flags = (*start, *_flags(study.base), *given, *_flags(own))
    try:
        config = parse(TrainConfig, flags, prog="vip-train train")
        get_task(config.task)
    except UserError as error:
        raise UserError(f"{path}: {task}, {', '.join([method, *axes])}: {error}") from error
    return Cell(task, method, tuple(_text(value) for value in values), seed, folder, log, flags, config)


def _flags(given: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={_text(value)}" for name, value in given.items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _as_name(text: str) -> str:
    """As the name of a folder."""
    return re.sub(r"[^\w.=+:-]+", "-", text).strip("-.") or "-"


def _flat(path: Path, what: str, given: Any) -> Settings:
    """Settings by dotted name, from names with dots, nested mappings or both."""
    found: Settings = {}
    for name, value in _mapping(path, what, given).items():
        found |= (
            {f"{name}.{key}": inner for key, inner in _flat(path, what, value).items()}
            if isinstance(value, dict)
            else {name: value}
        )
    return found


_KINDS = {int: "whole numbers", str: "names", object: "values"}


def _mapping(path: Path, what: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise UserError(f"{path}: {what} must be settings by name")
    return given


def _list(path: Path, what: str, given: Any, kind: type = object) -> list[Any]:
    """A list of one or more values of a kind; true and false are no whole numbers."""
    if not isinstance(given, list) or not given or not all(isinstance(one, kind) for one in given):
        raise UserError(f"{path}: {what} must be a list of {_KINDS[kind]}")
    if kind is int and any(isinstance(one, bool) for one in given):
        raise UserError(f"{path}: {what} must be a list of {_KINDS[kind]}")
    return given
