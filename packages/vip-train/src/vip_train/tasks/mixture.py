"""Several tasks at once: `--task superglue/cb:2+superglue/rte+squad`.

Each part keeps its own wording, answers and metrics; nothing in a source says which it is. A weight is a part's share of the
training examples, 1 if none is given, so by default a small task is seen as often as a large one. A part of weight 0 is
evaluated only: so sets out of the trained domains are watched, `mrqa/squad+mrqa/bioasq:0`. The first score is the mean over
the parts that are trained on, each by its first metric.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vip_train.errors import UserError
from vip_train.tasks.task import Example, Split, TextTask


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Tasks that one prompt is trained for together."""

    name: str
    """What `--task` calls it."""
    parts: Mapping[str, TextTask]
    """The tasks by name."""
    weights: Mapping[str, float]
    """Share of the training examples that each gets, relative to the others'; 0 is evaluated only."""

    @property
    def answers(self) -> Mapping[str, str]:
        """None that all examples share."""
        return {}

    def load(self, split: Split, data_dir: Path | None) -> list[Example]:
        """All examples of the parts, one part after the other. Their groups are named by part, and by group within it.

        Args:
            split: which; of the training split only parts with a weight.
            data_dir: as for a single task.

        Raises:
            UserError: a part cannot be had.
        """
        return [
            example._replace(task=name, group=f"{name}/{example.group}" if example.group else name)
            for name, task in self.parts.items()
            if self.weights[name] or split != "train"
            for example in task.load(split, data_dir)
        ]


def parse_mixture(text: str, tasks: Mapping[str, TextTask]) -> Mixture:
    """Reads "name:weight+name+...".

    Args:
        text: names joined by +, each with a weight behind a colon or none.
        tasks: that may be named.

    Raises:
        UserError: a name or weight is none, a name comes twice, or nothing is trained on.
    """
    weights: dict[str, float] = {}
    for part in text.split("+"):
        name, colon, weight = part.partition(":")
        if name not in tasks:
            raise UserError(f"task={text}: {name!r} is unknown, known are {', '.join(sorted(tasks))}")
        if name in weights:
            raise UserError(f"task={text}: {name} comes twice, give it a weight instead: {name}:2")
        try:
            weights[name] = float(weight) if colon else 1.0
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] < float("inf"):
            raise UserError(f"task={text}: weight {weight!r} of {name} must be a finite number of at least 0")
        if weights[name] and "train" not in tasks[name].files:
            raise UserError(f"task={text}: {name} has no split to train on, give it weight 0: {name}:0")
    if not any(weights.values()):
        raise UserError(f"task={text}: every weight is 0, there is nothing to train on")
    return Mixture(name=text, parts={name: tasks[name] for name in weights}, weights=weights)
