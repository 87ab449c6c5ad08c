"""How learning rates change over a run: a function of the step alone, so a run that continues needs nothing for it."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """What the learning rates of all groups are multiplied with. The paper's are constant, without a warm-up."""

    name: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up: `constant` (paper), or down to zero, which the last step reaches, in a line or in half a cosine."""
    warmup_steps: int = 0
    """Steps over which the rates rise in a line; the last of them is the first at the full rates. Fewer than the run has."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"optimizer.schedule.warmup_steps={self.warmup_steps} must be at least 0")

    def factor(self, step: int, steps: int) -> float:
        """What the learning rates are multiplied with in a step, between 0 and 1.

        Args:
            step: counts from 1.
            steps: of the whole run, whether or not it ends earlier.
        """
        if step < self.warmup_steps:
            return step / self.warmup_steps
        if self.name == "constant":
            return 1.0
        left = (steps - step) / (steps - self.warmup_steps)
        return left if self.name == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)
