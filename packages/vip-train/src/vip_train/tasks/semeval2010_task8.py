"""SemEval-2010 Task 8: how are two nouns of a sentence related, and in which direction?

The nouns are marked with * and # in place of <e1> and <e2>: T5's vocabulary has no angle brackets. Both are named again at the
end. A target names the part that the first noun has and then that of the second: Cause-Effect(e1,e2) is "cause effect", the
other direction "effect cause", Other is "other". So the direction is in the words and every target is two short English words.

Validation is the published test set, because there is no other; comments are passed over. Metric: the official macro-F1 over
the nine relations in their direction, without Other.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from vip_train.errors import UserError
from vip_train.tasks.fields import field, typed
from vip_train.tasks.reading import Placed, Row, open_text
from vip_train.tasks.task import HubSource, Reading, TextTask

RELATIONS = (
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
)
LABELS = (*(f"{relation}({order})" for relation in RELATIONS for order in ("e1,e2", "e2,e1")), "Other")
"""In the order of the hub's integers."""


def read_semeval(path: Path) -> Iterator[Placed]:
    """Blocks of a number and a sentence in quotes, a relation, a comment, laid out as on the hub."""
    sentence, place = "", ""
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if sentence:
                yield place, {"sentence": sentence, "relation": line.strip()}
                sentence = ""
            elif found := re.fullmatch(r'\d+\t"?(.*?)"?\s*', line):
                sentence, place = found[1], f"{path}:{number}"
            elif line.strip() and not line.startswith("Comment"):
                raise UserError(f"{path}:{number}: is no number, tab and sentence, and no comment")
    if sentence:
        raise UserError(f"{place}: field 'relation' is missing, the file ends before it")


def _texts(place: str, row: Row) -> Mapping[str, str]:
    text = field(place, row, "sentence", str)
    nouns = {}
    for number, mark in ("1", "*"), ("2", "#"):
        found = re.findall(rf"<e{number}>(.+?)</e{number}>", text)
        if len(found) != 1 or text.count(f"e{number}>") != 2:
            raise UserError(f"{place}: field 'sentence' must have one <e{number}>...</e{number}>, {len(found)} are whole")
        nouns[f"noun{number}"] = f"{mark}{found[0]}{mark}"
        text = re.sub(rf"</?e{number}>", mark, text)
    return {**nouns, "sentence": text}


def _parse(place: str, row: Row) -> Iterator[Reading]:
    texts = _texts(place, row)
    relation = row.get("relation")
    if isinstance(relation, int) and 0 <= relation < len(LABELS):
        relation = LABELS[relation]
    yield Reading(texts, typed(place, "field 'relation'", relation, str))


def _words(label: str) -> str:
    relation, _, order = label.lower().partition("(")
    first, _, second = relation.partition("-")
    return f"{second} {first}" if order.startswith("e2") else f"{first} {second}".strip()


SEMEVAL2010_TASK8 = TextTask(
    name="semeval2010-task8",
    folder="semeval2010_task8",
    files={"train": ("TRAIN_FILE.TXT",), "validation": ("TEST_FILE_FULL.TXT",)},
    read=read_semeval,
    texts=_texts,
    parse=_parse,
    hub=HubSource(
        "SemEvalWorkshop/sem_eval_2010_task_8",
        "default",
        "refs/convert/parquet",
        splits={"train": "train", "validation": "test"},
    ),
    template="{sentence} How are {noun1} and {noun2} related?",
    answers={label: _words(label) for label in LABELS},
    metrics=("directed_macro_f1", "accuracy"),
)
