"""The search among a method's candidates: which is best on the validation split, for each task by itself."""

from collections.abc import Iterable
from typing import NamedTuple

from vip_train.study.figures import Measured, spread
from vip_train.study.file import Settings, Study
from vip_train.study.plan import Place, as_tried


class Trial(NamedTuple):
    """A candidate that was tried."""

    tried: tuple[str, ...]
    """Its values, as text."""
    score: float
    """Mean over the search's seeds of the first score on the validation split."""
    nll: float
    """Of the negative log-likelihood there. Of equal scores the less decides."""


def trials(measured: Iterable[Measured]) -> dict[Place, list[Trial]]:
    """What was tried at each place, in the order of the file; of equals the first is best."""
    runs: dict[Place, dict[tuple[str, ...], list[Measured]]] = {}
    for one in measured:
        runs.setdefault(one.cell.place, {}).setdefault(one.cell.tried, []).append(one)
    return {
        place: [
            Trial(
                tried,
                spread([one.score(one.metrics[0]) for one in own]).mean,
                spread([float(one.results["validation_nll"]) for one in own]).mean,
            )
            for tried, own in by_candidate.items()
        ]
        for place, by_candidate in runs.items()
    }


def best(tried: Iterable[Trial]) -> Trial:
    """The one that is chosen."""
    return max(tried, key=lambda trial: (trial.score, -trial.nll))


def choose(study: Study, measured: Iterable[Measured]) -> dict[Place, Settings]:
    """The candidate that each method has at each place from now on.

    Args:
        study: what was asked for.
        measured: the finished runs of the search, at least one of each place. A candidate without any is out.
    """
    found = {}
    for place, tried in trials(measured).items():
        found[place] = {as_tried(one): one for one in study.candidates(place[2])}[best(tried).tried]
    return found
