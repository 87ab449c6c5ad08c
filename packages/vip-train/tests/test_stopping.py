"""Which evaluation is the best and when patience is out; whole runs are in test_outcome.py."""

from typing import Any

import pytest
from vip_train.stopping import Best, StoppingConfig


def best_of(values: list[float], **settings: Any) -> tuple[int, int]:
    """Step of the best of evaluations after steps 10, 20, ..., and the step at which the run ends."""
    config = StoppingConfig(**settings)
    best: Best | None = None
    step = 0
    name = "validation_nll" if config.metric == "nll" else "validation_f1"
    for place, value in enumerate(values):
        step = 10 * (place + 1)
        record = {"step": step, name: value}
        if config.is_better(record, best, "f1"):
            best = Best(record, {})
        if config.is_over(step, best):
            break
    return (best.step if best else 0), step


def test_the_highest_score_or_the_lowest_loss_is_the_best_and_of_equals_the_first() -> None:
    values = [0.5, 0.8, 0.2, 0.8, 0.2]
    assert best_of(values)[0] == 20
    assert best_of(values, metric="nll")[0] == 30


@pytest.mark.parametrize("metric", ["score", "nll"])
def test_what_is_not_finite_is_never_the_best(metric: Any) -> None:
    nan, inf = float("nan"), float("inf")
    assert best_of([nan, inf, -inf, 0.5, nan, inf, -inf], metric=metric) == (40, 70)
    assert best_of([nan], metric=metric, patience=1) == (0, 10)


@pytest.mark.parametrize(("patience", "end"), [(0, 60), (10, 30), (11, 40), (20, 40), (25, 50), (99, 60)])
def test_patience_counts_steps_since_the_best(patience: int, end: int) -> None:
    assert best_of([0.1, 0.9, 0.9, 0.3, 0.9, 0.9], patience=patience) == (20, end)


def test_a_better_one_renews_patience() -> None:
    assert best_of([0.1, 0.0, 0.2, 0.0, 0.3, 0.0, 0.0], patience=20) == (50, 70)


def test_patience_implies_that_the_best_is_kept() -> None:
    assert not StoppingConfig().keeps_best
    assert StoppingConfig(keep_best=True).keeps_best
    assert StoppingConfig(patience=1).keeps_best
