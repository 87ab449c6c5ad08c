"""SuperGLUE MultiRC: is this a right answer to a question about a paragraph? A question has several answers, any number right.

Each answer is an example of its own, as in the official scoring: F1 over all answers (F1a), and the share of questions whose
answers are all judged right. `Example.question` says which belong together. Question and answer come before the paragraph, so
that truncating it never cuts them; the words follow T5, true and false.
"""

from collections.abc import Iterator
from pathlib import Path

from vip_train.tasks.fields import field, objects
from vip_train.tasks.reading import Placed, Row, read_jsonl
from vip_train.tasks.task import HubSource, Reading, TextTask


def read_multirc(path: Path) -> Iterator[Placed]:
    """One row for each answer of each question of each paragraph, laid out as on the hub."""
    for place, row in read_jsonl(path):
        passage = field(place, row, "passage", dict)
        paragraph = field(place, passage, "text", str)
        for asked, question in objects(place, passage, "questions"):
            for answered, answer in objects(asked, question, "answers"):
                yield (
                    answered,
                    {
                        "paragraph": paragraph,
                        "question": field(asked, question, "question", str),
                        "answer": field(answered, answer, "text", str),
                        "label": field(answered, answer, "label", int),
                        "idx": {"paragraph": field(place, row, "idx", int), "question": field(asked, question, "idx", int)},
                    },
                )


def _parse(place: str, row: Row) -> Iterator[Reading]:
    texts = {name: field(place, row, name, str) for name in ("question", "answer", "paragraph")}
    idx = field(place, row, "idx", dict)
    question = f"{field(place, idx, 'paragraph', int)}-{field(place, idx, 'question', int)}"
    yield Reading(texts, str(field(place, row, "label", int)), question=question)


MULTIRC = TextTask(
    name="superglue/multirc",
    folder="MultiRC",
    read=read_multirc,
    parse=_parse,
    hub=HubSource("aps/super_glue", "multirc", "refs/convert/parquet"),
    template="question: {question} answer: {answer} paragraph: {paragraph}",
    answers={"0": "false", "1": "true"},
    metrics=("f1a", "question_match"),
)
