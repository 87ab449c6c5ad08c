"""How the answers to a split are chosen, scored and compared with constant ones: by each task's own answers and metrics."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from vip_train.frequency import frequencies
from vip_train.metrics import METRICS
from vip_train.tasks import Example, Task
from vip_train.tasks.task import Part

_CONSTANTS = 10
"""How many of the most frequent answers are tried as constant ones."""


class _Plain(NamedTuple):
    answers: Mapping[str, str]
    metrics: tuple[str, ...]


class Scores(NamedTuple):
    """What answers are worth. A name is the metric's; of a mixture, `mean` and then metric/part."""

    values: dict[str, float]
    """By name, the one that chooses the best prompt first."""
    groups: dict[str, float]
    """First metric of each group of examples, as metric/group, where a task has several."""
    unparsed: int
    """Answers that could not be read as any; they count as wrong."""


class Baseline(NamedTuple):
    """What can be had without reading the text."""

    scores: dict[str, float]
    """Of the constant answer that is best on the training split, by name; metrics may differ in which one that is."""
    answers: dict[str, str]
    """That answer."""
    entropy: float
    """Entropy of the training split's answers in nats: the loss of the best constant prediction."""

    def record(self) -> dict[str, float]:
        """The figures by name."""
        return {**{f"majority_{name}": value for name, value in self.scores.items()}, "label_entropy": self.entropy}


class Scoring:
    """The answers and metrics of a task, or of each part of a mixture.

    Args:
        parts: by `Example.task`.
        weights: of the parts in training; the mean is over those above 0. By default all are 1.
    """

    def __init__(self, parts: Mapping[str, Part], weights: Mapping[str, float] | None = None) -> None:
        self._parts = parts
        self._trained = [name for name in parts if weights is None or weights[name] > 0]
        self._texts = {name: tuple(dict.fromkeys(part.answers.values())) for name, part in parts.items()}
        # Two labels may be written alike; then they are the same to the metrics too.
        self._labels = {
            name: {text: label for label, text in reversed(list(part.answers.items()))} for name, part in parts.items()
        }

    @classmethod
    def of(cls, task: Task) -> "Scoring":
        """That of a task."""
        return cls(task.parts, task.weights)

    @classmethod
    def among(cls, answers: Sequence[str]) -> "Scoring":
        """One of these answers, or free text if there are none, by accuracy."""
        return cls({"": _Plain({answer: answer for answer in answers}, ("accuracy",))})

    @property
    def first(self) -> str:
        """Name of the score that chooses the best prompt."""
        return self._parts[""].metrics[0] if "" in self._parts else "mean"

    def choices(self, example: Example) -> tuple[str, ...]:
        """The fixed answers an example may get; none where it is free text."""
        return self._texts[example.task]

    def score(self, answers: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Scores the answers to a split.

        Args:
            answers: in the order of the examples.
            examples: at least one of each part.
        """
        values: dict[str, float] = {}
        groups: dict[str, float] = {}
        unparsed = 0
        for name, part in self._parts.items():
            # No metric reads sources, which may be more than memory holds.
            own = [(row, one._replace(source="")) for row, one in enumerate(examples) if one.task == name]
            given, wanted = self._read(name, [answers[row] for row, _ in own], [one for _, one in own])
            is_readable = METRICS[part.metrics[0]].is_readable
            unparsed += sum(not (answer if part.answers else is_readable(answer)) for answer in given)
            for metric in part.metrics:
                values[_called(metric, name)] = METRICS[metric].score(given, wanted, tuple(part.answers))
            members: dict[str, list[int]] = {}
            for place, example in enumerate(wanted):
                members.setdefault(example.group, []).append(place)
            first = METRICS[part.metrics[0]].score
            for group, places in sorted(members.items() if len(members) > 1 else ()):
                groups[f"{part.metrics[0]}/{group}"] = first(
                    [given[place] for place in places], [wanted[place] for place in places], tuple(part.answers)
                )
        return Scores(self._with_mean(values), groups, unparsed)

    def baseline(self, train: Sequence[Example], validation: Sequence[Example]) -> Baseline:
        """Constant answers, to be shown beside every score.

        Fixed answers are tried on the training split and the best one is taken, for each metric by itself: F1 of "right" wants
        "right" always, where accuracy wants the more frequent "wrong". Of free text it is the most frequent one.
        A part without training examples takes those of all parts that have the same answers, or its own first answer.
        """
        scores: dict[str, float] = {}
        answers: dict[str, str] = {}
        every = frequencies(train, _CONSTANTS)
        for name, part in self._parts.items():
            is_own = self._trains(name, train)
            found = every if len(self._parts) == 1 else frequencies(train, _CONSTANTS, is_own)
            often = (found.common or self._texts[name] or ("",))[: _CONSTANTS if part.answers else 1]
            there = [example._replace(source="") for example in validation if example.task == name]
            for metric in part.metrics:
                best = often[0]
                if found.common and len(often) > 1 and not METRICS[metric].wants_frequent:
                    own = [example for example in train if is_own(example)]
                    best = max(often, key=lambda answer: self._constant(metric, name, answer, own))
                scores[_called(metric, name)] = self._constant(metric, name, best, there)
                answers[_called(metric, name)] = best
        return Baseline(self._with_mean(scores), answers, every.entropy)

    def balance(self, examples: Sequence[Example]) -> dict[str, int]:
        """How many examples have each fixed answer, the most frequent first; of a mixture as answer/part."""
        counts = Counter({_called(text, name): 0 for name, texts in self._texts.items() for text in texts})
        counts.update(_called(one.target, one.task) for one in examples if self.choices(one))
        return dict(counts.most_common())

    def _trains(self, name: str, train: Sequence[Example]) -> Callable[[Example], bool]:
        """Which training examples tell what a part's constant answers are."""
        if any(example.task == name for example in train):
            return lambda example: example.task == name
        return lambda example: self.choices(example) == self._texts[name]

    def _constant(self, metric: str, name: str, answer: str, examples: Sequence[Example]) -> float:
        given, wanted = self._read(name, [answer] * len(examples), examples)
        return METRICS[metric].score(given, wanted, tuple(self._parts[name].answers))

    def _read(self, name: str, answers: Sequence[str], examples: Sequence[Example]) -> tuple[list[str], list[Example]]:
        """Labels in place of their texts, where answers are fixed."""
        labels = self._labels[name]
        if not labels:
            return list(answers), list(examples)
        return [labels.get(answer, "") for answer in answers], [
            example._replace(target=labels[example.target]) for example in examples
        ]

    def _with_mean(self, values: dict[str, float]) -> dict[str, float]:
        if "" in self._parts:
            return values
        firsts = [values[_called(self._parts[name].metrics[0], name)] for name in self._trained]
        return {"mean": sum(firsts) / len(firsts), **values}


def _called(metric: str, part: str) -> str:
    return f"{metric}/{part}" if part else metric
