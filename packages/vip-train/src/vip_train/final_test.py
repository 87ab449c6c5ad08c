"""The test split, looked at once: after training, with the prompt that is kept."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from vip_train.config import TrainConfig
from vip_train.data import check_distinct
from vip_train.evaluation import evaluate
from vip_train.model import VIPModel
from vip_train.scoring import Scoring
from vip_train.tasks import Example, Task, get_task
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World

SEEN, UNSEEN = "seen", "unseen"
"""Means over the tasks that were trained on, and over those that were not, each by its first metric."""


class FinalTest:
    """The test split of the task that `test_task` names.

    Raises:
        UserError: there is no such task, or it has no test split.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._task: Task = get_task(config.test_task)
        self._examples: list[Example] = list(self._task.load("test", config.data_dir))
        there = {example.task for example in self._examples}
        self._scoring = Scoring({name: part for name, part in self._task.parts.items() if name in there})
        trained = config.get_task()
        names = {trained.name, *(name for name, weight in trained.weights.items() if weight)}
        self._is_seen = {name: (name or self._task.name) in names for name in there}

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuses answers that are the same to the model, before anything is trained."""
        for part in self._task.parts.values():
            check_distinct(tuple(dict.fromkeys(part.answers.values())), tokenizer)

    def record(self, model: VIPModel, tokenizer: PreTrainedTokenizerBase, world: World) -> dict[str, Any]:
        """Scores a model on it; constant answers are the best on this split."""
        split = TokenisedSplit(self._examples, tokenizer, self._config.max_source_length)
        found = evaluate(model, split, self._scoring, tokenizer, world)
        constant = self._scoring.baseline(self._examples, self._examples).scores
        figures = {
            **{f"test_{name}": value for name, value in {**found.record(), **self._means(found.scores.values)}.items()},
            **{f"test_constant_{name}": value for name, value in {**self._means(constant), **constant}.items()},
        }
        # Seen and unseen in one mean would say nothing.
        return {name: value for name, value in figures.items() if name not in ("test_mean", "test_constant_mean")}

    def _means(self, scores: Mapping[str, float]) -> dict[str, float]:
        found = {}
        for mean, is_seen in ((SEEN, True), (UNSEEN, False)):
            firsts = [
                scores[f"{part.metrics[0]}/{name}" if name else part.metrics[0]]
                for name, part in self._task.parts.items()
                if self._is_seen.get(name) is is_seen
            ]
            if firsts:
                found[mean] = sum(firsts) / len(firsts)
        return found
