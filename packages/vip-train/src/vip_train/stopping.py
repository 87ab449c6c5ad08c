"""Which evaluation was the best so far, and when there has been no better one for long enough.

The best evaluation and its prompt are part of every checkpoint, so a run that was broken off decides as an unbroken one.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StoppingConfig:
    """When to end before the last step, and which prompt becomes `adapter/`."""

    keep_best: bool = False
    """Whether `adapter/` is the prompt of the best evaluation; that of the last step is then in `adapter-last/`.
    Otherwise `adapter/` is that of the last step, and there is no other."""
    metric: Literal["score", "nll"] = "score"
    """On the validation split: the higher score, by the task's first metric, or the lower negative log-likelihood is better;
    of equals the first."""
    patience: int = 0
    """Optimizer steps without a better evaluation after which the run ends; 0 takes all steps. Above 0 `keep_best` is
    implied. Paper: 20 evaluations; on CB, evaluated every 8 steps, 160."""

    def __post_init__(self) -> None:
        if self.patience < 0:
            raise ValueError(f"optimizer.stopping.patience={self.patience} must be at least 0")

    @property
    def keeps_best(self) -> bool:
        """Whether the best is kept."""
        return self.keep_best or self.patience > 0

    def is_better(self, record: dict[str, Any], best: "Best | None", score: str) -> bool:
        """Whether an evaluation is better than the best before it; never if its metric is not finite.

        Args:
            record: its line of the metrics.
            best: the best before it.
            score: name of the task's first metric.
        """
        name = f"validation_{score if self.metric == 'score' else self.metric}"
        value = record[name]
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        before = best.record[name]
        return bool(value > before if self.metric == "score" else value < before)

    def is_over(self, step: int, best: "Best | None") -> bool:
        """Whether patience has run out."""
        return self.patience > 0 and best is not None and step - best.step >= self.patience


class Best(NamedTuple):
    """The best evaluation so far."""

    record: dict[str, Any]
    """Its line of the metrics."""
    prompt: dict[str, Tensor]
    """The prompt's whole state then."""

    @property
    def step(self) -> int:
        """After which step it was."""
        return int(self.record["step"])
