"""Learning rates as a function of the step."""

from itertools import pairwise
from typing import Any

import pytest
from vip_train.config import OptimizerConfig
from vip_train.schedule import ScheduleConfig


def factors(steps: int = 8, **values: Any) -> list[float]:
    schedule = ScheduleConfig(**values)
    return [schedule.factor(step, steps) for step in range(1, steps + 1)]


def test_the_default_is_the_papers_constant_without_a_warm_up() -> None:
    assert factors() == [1.0] * 8


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"warmup_steps": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"name": "linear"}, [7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]),
        ({"name": "linear", "warmup_steps": 4}, [0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]),
        ({"name": "linear", "warmup_steps": 1}, [1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7, 0]),
        ({"name": "linear", "warmup_steps": 7}, [*(step / 7 for step in range(1, 8)), 0]),
        ({"name": "cosine", "warmup_steps": 4}, [0.25, 0.5, 0.75, 1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0]),
    ],
)
def test_it_rises_in_the_warm_up_and_ends_at_zero_unless_constant(values: dict[str, Any], expected: list[float]) -> None:
    assert factors(**values) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup_steps", [0, 1, 30, 99])
def test_it_rises_then_falls_and_stays_between_zero_and_one(name: Any, warmup_steps: int) -> None:
    found = factors(100, name=name, warmup_steps=warmup_steps)
    assert all(0 <= value <= 1 for value in found)
    assert found[:warmup_steps] == sorted(found[:warmup_steps])
    assert all(one >= other for one, other in pairwise(found[max(warmup_steps - 1, 0) :]))
    assert found[-1] == (1 if name == "constant" else 0)


def test_all_groups_follow_it_in_proportion() -> None:
    schedule = ScheduleConfig(name="linear", warmup_steps=2)
    rates = {"prompt_learning_rate": 0.3, "contextualizer_learning_rate": 1e-4, "backbone_learning_rate": 0.01}
    config = OptimizerConfig(steps=4, **rates, schedule=schedule)
    assert config.learning_rates(1) == {"prompt": 0.15, "contextualizer": 5e-5, "backbone": 0.005}
    assert config.learning_rates(2) == {"prompt": 0.3, "contextualizer": 1e-4, "backbone": 0.01}
    assert config.learning_rates(4) == {"prompt": 0.0, "contextualizer": 0.0, "backbone": 0.0}


def test_a_warm_up_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^optimizer.schedule.warmup_steps=4 must be less than optimizer.steps=4$"):
        OptimizerConfig(steps=4, schedule=ScheduleConfig(warmup_steps=4))
