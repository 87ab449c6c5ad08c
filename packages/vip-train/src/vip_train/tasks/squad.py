"""SQuAD 1.1: write the answer to a question about a paragraph.

The question comes first, so that truncating a long paragraph never cuts it. The target is the first published answer; in
scoring any of them counts, the best one. Metrics: F1 and exact match with the official normalisation. Validation is the
published dev set.
"""

from collections.abc import Iterator
from pathlib import Path

from vip_train.errors import UserError
from vip_train.tasks.fields import field, objects, strings, typed
from vip_train.tasks.reading import Placed, Row, read_json
from vip_train.tasks.task import HubSource, Reading, TextTask


def read_squad(path: Path) -> Iterator[Placed]:
    """One row for each question, laid out as on the hub."""
    root = typed(str(path), "the document", read_json(path), dict)
    for titled, article in objects(str(path), root, "data"):
        for about, paragraph in objects(titled, article, "paragraphs"):
            context = field(about, paragraph, "context", str)
            for asked, question in objects(about, paragraph, "qas"):
                answers = [field(answered, answer, "text", str) for answered, answer in objects(asked, question, "answers")]
                found = {"context": context, "question": field(asked, question, "question", str), "answers": {"text": answers}}
                yield asked, found


def _parse(place: str, row: Row) -> Iterator[Reading]:
    answers = tuple(dict.fromkeys(strings(place, field(place, row, "answers", dict), "text")))
    target = next((answer for answer in answers if answer.strip()), None)
    if target is None:
        raise UserError(f"{place}: field 'answers' has no answer")
    yield Reading({name: field(place, row, name, str) for name in ("question", "context")}, target, references=answers)


SQUAD = TextTask(
    name="squad",
    folder="squad",
    files={"train": ("train-v1.1.json",), "validation": ("dev-v1.1.json",)},
    read=read_squad,
    parse=_parse,
    hub=HubSource("rajpurkar/squad", "plain_text", "7b6d24c440a36b6815f21b70d25016731768db1f"),
    template="question: {question} context: {context}",
    answers={},
    metrics=("f1", "exact_match"),
)
