"""The suite of VIP's own: seven families of tasks over six domains, five of them in two further domains too.

suite/mood, suite/nli, suite/qa, suite/ner and suite/relations are ordinary tasks; what ends in -new is the same in domains
nobody trains on. In suite/forms and suite/fields nothing says what is asked: it depends on the domain, so a prompt has to
follow the input. Wordings are those of the published tasks of the same kind here. Every family has three splits, -new has two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from vip_train.suite.domains import HELD_OUT, TRAINED
from vip_train.suite.families import RELATIONS, generate
from vip_train.tasks.conll2003 import CONLL2003
from vip_train.tasks.reading import Row
from vip_train.tasks.task import Split, TextTask


def _rows(family: str, domains: Sequence[str], split: Split) -> Iterator[Row]:
    return generate(family, domains, split)


_GENERATED: dict[Split, tuple[str, ...]] = {"train": (), "validation": (), "test": ()}
_MOOD = TextTask(
    name="suite/mood",
    template="{text} Good or bad news?",
    answers={"good": "good", "bad": "bad"},
)
_FAMILIES = {
    "mood": _MOOD,
    "nli": TextTask(
        name="suite/nli",
        template="premise: {premise} hypothesis: {hypothesis} true, false or neither?",
        answers={"entailment": "true", "contradiction": "false", "neutral": "neither"},
    ),
    "qa": TextTask(
        name="suite/qa",
        template="question: {question} context: {passage}",
        answers={},
        metrics=("f1", "exact_match"),
    ),
    "ner": replace(CONLL2003, name="suite/ner", folder="", hub=None),
    "relations": TextTask(
        name="suite/relations",
        template="{text} How are {noun1} and {noun2} related?",
        answers={name: name for name in RELATIONS},
        metrics=("accuracy", "macro_f1"),
    ),
    "forms": TextTask(
        name="suite/forms",
        template="{text}",
        answers={"good, question": "yes", "bad, question": "no", "good, statement": "true", "bad, statement": "false"},
    ),
    "fields": TextTask(name="suite/fields", template="{text}", answers={}, metrics=("exact_match", "f1")),
}

SUITE = tuple(
    replace(task, files=_GENERATED, generate=partial(_rows, family, TRAINED), group_field="domain")
    for family, task in _FAMILIES.items()
)
SUITE_NEW = tuple(
    replace(
        task,
        name=f"{task.name}-new",
        files={split: () for split in _GENERATED if split != "train"},
        generate=partial(_rows, family, HELD_OUT),
        group_field="domain",
    )
    for family, task in _FAMILIES.items()
    if family not in ("forms", "fields")
)
