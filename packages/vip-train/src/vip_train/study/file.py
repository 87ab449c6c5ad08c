"""What a study is made of, as its YAML file says it.

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
    score: test                               # optional: the split that is reported, which every run's test_task names

A method may give several values for a setting, {optimizer.prompt_learning_rate: [0.03, 0.1]}. They are tried first, every value
with every other, on each task by itself with the file's `search_seeds: [100]`; the best by the first score on the validation
split is the method's from then on. Methods with as many candidates have the same budget.

Of two values for one setting that of the axis wins, then the method's, the task's, the command line's, the base's, and last the
config's.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import yaml

from vip_train.config import TrainConfig
from vip_train.errors import UserError
from vip_train.splits import DataConfig
from vip_train.written import read_yaml

Reported = Literal["validation", "test"]
"""The split whose scores are reported."""
Settings = dict[str, Any]
"""Values by dotted name, as they are written."""

_OWN = {"optimizer.seed": "seeds", "output": "--output"}
"""Settings that a study makes itself, and what says which."""
_DATA = {field.name for field in fields(DataConfig)} | {"test_task"}
"""Settings in which runs that are compared must not differ."""
_LEARNING_CURVE = {"max_train_examples"}
"""Those that may be an axis for all that: only what has the same value on it is compared."""


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
    search_seeds: tuple[int, ...] = ()
    score: Reported = "validation"

    def candidates(self, method: str) -> list[Settings]:
        """Settings of a method among which is searched: every choice of one value for each that has several."""
        several = {name: value for name, value in self.methods[method].items() if isinstance(value, list)}
        return [dict(zip(several, values, strict=True)) for values in itertools.product(*several.values())]


def read_study(path: Path) -> Study:
    """Reads a study file.

    Raises:
        UserError: it cannot be read, or a key is unknown, missing or not what it should be.
    """
    try:
        return _Reader(path).study(read_yaml(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except RecursionError as error:
        raise UserError(f"{path}: cannot be read: it holds itself, or is too deep") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


def check_own(names: Iterable[str], where: str) -> None:
    """Refuses settings that a study makes itself.

    Raises:
        UserError: one is among the names.
    """
    for name in names:
        if name in _OWN:
            raise UserError(f"{where}: {name} is made by the study, {_OWN[name]} says which")


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = set(_names(TrainConfig))

    def study(self, found: Any) -> Study:
        """All of the file."""
        if not isinstance(found, dict):
            raise self._wrong(f"holds {type(found).__name__}, the keys of a study were expected")
        known = [field.name for field in fields(Study)]
        if unknown := [key for key in found if key not in known]:
            raise self._wrong(f"key {unknown[0]!r} is unknown, known are {', '.join(known)}")
        for key in ("methods", "tasks", "seeds"):
            if not found.get(key):
                raise self._wrong(f"key {key!r} is missing or empty")
        methods = self._by_name("methods", found["methods"], barred=_DATA)
        search_seeds = self._search_seeds(methods, found.get("search_seeds"), found["seeds"])
        if (score := found.get("score", "validation")) not in get_args(Reported):
            raise self._wrong(f"score={score} must be one of {', '.join(get_args(Reported))}")
        tasks = found["tasks"]
        if isinstance(tasks, list):
            names = self._list("tasks", tasks)
            self._different("tasks", names)
            tasks = dict.fromkeys(names)
        baseline = self._text("baseline", found.get("baseline"))
        if baseline is not None and baseline not in methods:
            raise self._wrong(f"baseline={baseline} must be one of the methods {', '.join(methods)}")
        config = self._text("config", found.get("config"))
        return Study(
            config=None if config is None else self._path.parent / config,
            base=self._settings("base", found.get("base")),
            methods=methods,
            tasks=self._by_name("tasks", tasks),
            seeds=self._seeds("seeds", found["seeds"]),
            axes=self._axes(found.get("axes")),
            baseline=baseline,
            search_seeds=search_seeds,
            score=score,
        )

    def _wrong(self, what: str) -> UserError:
        return UserError(f"{self._path}: {what}")

    def _by_name(self, what: str, given: Any, barred: Iterable[str] = ()) -> dict[str, Settings]:
        found = {}
        for name, settings in self._mapping(what, given).items():
            if not name.strip() or not name.isprintable():
                raise self._wrong(f"{what}: {name!r} is no name")
            found[name] = self._settings(f"{what}.{name}", settings, barred)
        return found

    def _seeds(self, what: str, given: Any) -> tuple[int, ...]:
        found = self._list(what, given)
        if not all(seed.isdecimal() for seed in found):
            raise self._wrong(f"{what} must be a list of whole numbers from 0 on")
        self._different(what, seeds := tuple(map(int, found)))
        return seeds

    def _search_seeds(self, methods: Mapping[str, Settings], given: Any, seeds: Any) -> tuple[int, ...]:
        searched = False
        for method, settings in methods.items():
            for name, value in settings.items():
                if isinstance(value, list):
                    searched = True
                    self._different(f"methods.{method}.{name}", self._list(f"methods.{method}.{name}", value))
                    if len(value) == 1:
                        raise self._wrong(f"methods.{method}.{name}={value} must be several values, or one without brackets")
        if searched != (given is not None):
            raise self._wrong("search_seeds must be given if a method has several values for a setting, and only then")
        if not searched:
            return ()
        found = self._seeds("search_seeds", given)
        if both := set(found) & set(self._seeds("seeds", seeds)):
            raise self._wrong(f"search_seeds={list(found)} must not be among seeds, as {min(both)} is")
        return found

    def _axes(self, given: Any) -> dict[str, tuple[Any, ...]]:
        found: dict[str, tuple[Any, ...]] = {}
        for name, values in self._mapping("axes", given).items():
            for one in (axis := self._settings("axes", {name: values}, _DATA - _LEARNING_CURVE)):
                if one in found:
                    raise self._wrong(f"axes: {one} comes twice")
                self._different(f"axes.{one}", choices := self._list(f"axes.{one}", axis[one]))
                found[one] = tuple(choices)
        return found

    def _settings(self, what: str, given: Any, barred: Iterable[str] = ()) -> Settings:
        """Settings by dotted name, from names with dots, nested mappings or both."""
        found: Settings = {}
        for name, value in self._flat(what, given, ""):
            if name in found:
                raise self._wrong(f"{what}: {name} comes twice")
            if name not in self._known:
                inner = any(known.startswith(f"{name}.") for known in self._known)
                raise self._wrong(f"{what}.{name} {'must be settings by name' if inner else 'is no setting of a run'}")
            if name in barred:
                raise self._wrong(f"{what}: {name} chooses the data, which is for base and tasks to say")
            found[name] = value
        check_own(found, f"{self._path}: {what}")
        return found

    def _flat(self, what: str, given: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in self._mapping(what, given).items():
            name = f"{prefix}{key.replace('-', '_')}"
            if isinstance(value, dict):
                yield from self._flat(what, value, f"{name}.")
            else:
                yield name, value

    def _mapping(self, what: str, given: Any) -> Mapping[str, Any]:
        if given is None:
            return {}
        if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
            raise self._wrong(f"{what} must be settings by name")
        return given

    def _list(self, what: str, given: Any) -> list[str]:
        if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
            raise self._wrong(f"{what} must be a list of single values")
        return given

    def _different(self, what: str, values: Iterable[object]) -> None:
        found = list(values)
        if len(set(found)) < len(found):
            raise self._wrong(f"{what}={found} must be different")

    def _text(self, what: str, given: Any) -> str | None:
        if given is not None and not (isinstance(given, str) and given):
            raise self._wrong(f"{what}={given} must be a name")
        return given


def _names(kind: type[Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        inner = hints[field.name]
        if isinstance(inner, type) and is_dataclass(inner):
            yield from _names(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"
