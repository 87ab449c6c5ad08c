"""The figures of a study: what was measured in each cell, and over seeds."""

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy import stats

from vip_train.errors import UserError
from vip_train.runs import RESULTS_FILE
from vip_train.study.file import Reported
from vip_train.study.plan import Cell

_CONSTANT: Mapping[Reported, str] = {"validation": "majority_", "test": "test_constant_"}
"""What is before the scores of constant answers."""
_NEEDED = (
    "data",
    "backbone",
    "trained_parameters",
    "seconds",
    "validation_nll",
    "validation_code_perplexity",
    "validation_codes_used",
)
"""What results of this release have, besides scores."""


class Measured(NamedTuple):
    """A finished cell."""

    cell: Cell
    results: dict[str, Any]
    """Its results.json."""
    split: Reported = "validation"
    """Where it is scored."""

    @property
    def metrics(self) -> list[str]:
        """Names of its scores, the first one first."""
        constant = _CONSTANT[self.split]
        return [name.removeprefix(constant) for name in self.results if name.startswith(constant)]

    def score(self, metric: str) -> float:
        """Of the split."""
        return float(self.results[f"{self.split}_{metric}"])

    def constant(self, metric: str) -> float:
        """What a constant answer reaches there."""
        return float(self.results[f"{_CONSTANT[self.split]}{metric}"])


class Spread(NamedTuple):
    """A figure over seeds."""

    mean: float
    sd: float
    """Sample standard deviation; nan for a single seed."""
    least: float


class Comparison(NamedTuple):
    """How much more a method has than the baseline, seed by seed."""

    difference: float
    """Mean."""
    p: float
    """Two-sided, of the paired t test; nan with fewer than two pairs, or if all differences are alike."""
    pairs: int


def measure(cells: Iterable[Cell], split: Reported = "validation", others: Iterable[Measured] = ()) -> list[Measured]:
    """The results of the cells that are finished.

    Args:
        cells: of a study.
        split: where they are scored.
        others: runs, as of its search, that must have had the same data and backbone.

    Raises:
        UserError: one cannot be read, or two that are compared were trained on other data or for another backbone.
    """
    finished = [cell for cell in cells if (cell.path / RESULTS_FILE).is_file()]
    found = [Measured(cell, _read(cell.path / RESULTS_FILE, split), split) for cell in finished]
    firsts: dict[tuple[str, ...], Measured] = {}
    for one in [*others, *found]:
        place = (one.cell.task, *one.cell.axes)
        # Methods may have backbones of their own.
        for what, alike in (("data", place), ("backbone", (*place, one.cell.method))):
            first = firsts.setdefault((what, *alike), one)
            if one.results[what] != first.results[what]:
                raise UserError(f"{one.cell.path}: has other {what} than {first.cell.path}; remove what is out of date")
    return found


def _read(path: Path, split: Reported) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    lacking = [name for name in _NEEDED if not isinstance(found, dict) or name not in found]
    if lacking or not any(name.startswith(_CONSTANT[split]) for name in found):
        raise UserError(f"{path}: lacks {', '.join(lacking) or 'scores'}; remove the run's folder to train it again")
    return dict(found)


def groups(measured: Iterable[Measured]) -> dict[tuple[str, tuple[str, ...]], dict[str, list[Measured]]]:
    """What is compared with each other: by task and axes, then by method, its seeds."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, list[Measured]]] = {}
    for one in measured:
        found.setdefault((one.cell.task, one.cell.axes), {}).setdefault(one.cell.method, []).append(one)
    return found


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    sd = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(statistics.fmean(values), sd, min(values))


def compare(ours: Iterable[Measured], theirs: Iterable[Measured], metric: str = "") -> Comparison:
    """Compares two methods over the cells in which all but the method is the same.

    Args:
        ours: of the method.
        theirs: of the baseline.
        metric: what is compared, where it is measured; by default each cell's first.
    """

    def by_cell(measured: Iterable[Measured]) -> dict[Any, float]:
        there = (one for one in measured if not metric or metric in one.metrics)
        return {(one.cell.task, one.cell.axes, one.cell.seed): one.score(metric or one.metrics[0]) for one in there}

    mine, others = by_cell(ours), by_cell(theirs)
    both = [cell for cell in mine if cell in others]
    differences = [mine[cell] - others[cell] for cell in both]
    if not differences:
        return Comparison(math.nan, math.nan, 0)
    p = math.nan
    if len(differences) > 1 and max(differences) - min(differences) > 1e-12:
        p = float(stats.ttest_rel([mine[cell] for cell in both], [others[cell] for cell in both]).pvalue)
    return Comparison(statistics.fmean(differences), p, len(differences))


def rows(measured: Iterable[Measured], axes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row of a table for every cell: which it is, and every number of its results."""
    for one in measured:
        numbers = {name: value for name, value in one.results.items() if type(value) in (int, float, bool)}
        yield {
            "task": one.cell.task,
            "method": one.cell.method,
            **dict(zip(axes, one.cell.axes, strict=True)),
            "seed": one.cell.seed,
            **numbers,
        }
