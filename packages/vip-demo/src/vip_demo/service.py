"""What the page and its API ask for, by the name of an adapter. No page, no picture; the caller lets in one call at a time."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vip_core.config import Evaluation
from vip_train import TASKS, TextTask, UserError
from vip_train.tasks import Example

from vip_demo.adapters import Shelf
from vip_demo.inspection import Inspection, inspect
from vip_demo.survey import Survey, survey
from vip_demo.upload import read_upload

EXAMPLES_FILE = "examples.jsonl"
"""Above an adapter's folder: examples that somebody chose for it, as `upload.read_upload` takes them."""
_EXAMPLES = 4
_KEPT = 50  # data sets of visitors
_SURVEYED = 300
"""Texts of a task's validation split that are looked through: enough for shares by label and domain, and done in seconds."""
_LARGEST_SEED = 2**63 - 1


Progress = Callable[[int, int], None]
"""Is told how many texts of how many are done."""


def _silent(done: int, all_: int) -> None:
    pass


class Question(NamedTuple):
    """One text that somebody wants to know about."""

    adapter: str
    text: str
    how: Evaluation
    seed: int


class Start(NamedTuple):
    """What there is of an adapter before any text was looked at."""

    hint: str
    """The wording its texts have."""
    examples: list[Example]
    """With their right answers; none where the task is unknown here or does not ship its texts."""


class Service:
    """Answers questions about adapters.

    Args:
        folders: of each adapter, by the name it is offered by.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.shelf = Shelf(folders)
        self._surveys: dict[str, Survey] = {}
        self._own: OrderedDict[str, tuple[str, Survey]] = OrderedDict()

    def start(self, name: str) -> Start:
        """The wording and examples of an adapter's task; those in a file of its own win.

        Raises:
            UserError: the adapter is not offered, or its folder or its examples are broken.
        """
        task = TASKS.get(self.shelf.config(name).task)
        own = self.shelf.folder(name).resolve().parent / EXAMPLES_FILE
        examples: list[Example] = []
        if own.is_file():
            examples = read_upload(own)
        elif task is not None and task.generate is not None:
            examples = _some(task)
        hint = f"Wording of {task.name}: {task.template}" if task else "Text in the wording the adapter was trained on"
        return Start(hint, examples)

    def inspect(self, questions: Sequence[Question]) -> list[Inspection | UserError]:
        """The answer to each question, or what is wrong with it. Those of one adapter and selection go through it together."""
        found: list[Inspection | UserError] = [UserError("")] * len(questions)
        groups: dict[tuple[str, Evaluation, int], list[int]] = {}
        for row, question in enumerate(questions):
            # Only draws have a seed.
            seed = question.seed if question.how == "sample" else 0
            groups.setdefault((question.adapter, question.how, seed), []).append(row)
        for (name, how, seed), rows in groups.items():
            for row, each in zip(rows, self._together(name, how, seed, [questions[row].text for row in rows]), strict=True):
                found[row] = each
        return found

    def one(self, question: Question) -> Inspection:
        """The answer to one question.

        Raises:
            UserError: the adapter is not offered, or the text is empty or too long.
        """
        (found,) = self.inspect([question])
        if isinstance(found, UserError):
            raise found
        return found

    def _together(self, name: str, how: Evaluation, seed: int, texts: list[str]) -> list[Inspection | UserError]:
        try:
            if not 0 <= seed <= _LARGEST_SEED:
                raise UserError(f"The seed must be from 0 to {_LARGEST_SEED}.")
            adapter = self.shelf.adapter(name)
        except UserError as error:
            return [error] * len(texts)
        try:
            return list(inspect(adapter, texts, how, seed=seed))
        except UserError as error:
            if len(texts) == 1:
                return [error]
        # One of them cannot be read: that is no fault of the others.
        return [each for text in texts for each in self._together(name, how, seed, [text])]

    def keep(self, name: str, found: Survey) -> str:
        """Keeps how a visitor's data set looks through an adapter and returns the key to it; the oldest are forgotten."""
        key = secrets.token_urlsafe()
        self._own[key] = name, found
        while len(self._own) > _KEPT:
            self._own.popitem(last=False)
        return key

    def surveyed(self, name: str, key: str | None, *, progress: Progress = _silent) -> Survey:
        """The visitor's own data set, if there is one for this adapter, or the built-in one.

        Raises:
            UserError: it is no longer kept; otherwise as of `survey`.
        """
        if key is not None and key not in self._own:
            raise UserError("Your data set is no longer kept: upload it again, or take the built-in one, under Data set.")
        if key is not None and self._own[key][0] == name:
            return self._own[key][1]
        return self.survey(name, progress=progress)

    def survey(self, name: str, *, progress: Progress = _silent) -> Survey:
        """The first texts of the validation split of an adapter's task, looked through once and kept.

        Raises:
            UserError: the adapter cannot be loaded, or its task does not ship its texts.
        """
        if name not in self._surveys:
            config = self.shelf.config(name)
            task = TASKS.get(config.task)
            if task is None or task.generate is None:
                raise UserError("The data of this adapter's task are not built in: upload some under Data set.")
            examples = task.load("validation", None)[:_SURVEYED]
            self._surveys[name] = survey(self.shelf.adapter(name), examples, progress=progress)
        return self._surveys[name]


def _some(task: TextTask) -> list[Example]:
    """A few of the validation split: each of another group, where there are groups, with another answer than the one before."""
    taken: list[Example] = []
    for example in task.load("validation", None):
        known = example.group and example.group in {other.group for other in taken}
        if not known and (not taken or example.target != taken[-1].target):
            taken.append(example)
        if len(taken) == _EXAMPLES:
            break
    return taken
