"""SuperGLUE ReCoRD: which name of the passage belongs at @placeholder in the query?

The name is written as free text, as T5 does it: one example a query, in place of one for each of up to dozens of names. Query
and names come first, so that truncating the passage never cuts what can be answered. The target is the first right answer; any
of them counts. The passage's last sentences follow "@highlight" lines, which become ordinary sentences. Metrics: F1 and exact
match with the official normalisation, the best over all right answers.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from vip_train.errors import UserError
from vip_train.tasks.fields import field, objects, strings
from vip_train.tasks.reading import Placed, Row, read_jsonl
from vip_train.tasks.task import HubSource, Reading, TextTask


def read_record(path: Path) -> Iterator[Placed]:
    """One row for each query, laid out as on the hub. Positions of names include the last character."""
    for place, row in read_jsonl(path):
        passage = field(place, row, "passage", dict)
        text = field(place, passage, "text", str)
        entities = []
        for named, entity in objects(place, passage, "entities"):
            first, last = field(named, entity, "start", int), field(named, entity, "end", int)
            if not 0 <= first <= last < len(text):
                raise UserError(
                    f"{named}: fields 'start' and 'end' are {first} and {last}, the text has {len(text)} characters"
                )
            entities.append(text[first : last + 1])
        for asked, query in objects(place, row, "qas"):
            answers = [field(answered, answer, "text", str) for answered, answer in objects(asked, query, "answers")]
            found = {"passage": text, "query": field(asked, query, "query", str), "entities": entities, "answers": answers}
            yield asked, found


def _texts(place: str, row: Row) -> Mapping[str, str]:
    return {
        "query": field(place, row, "query", str),
        "entities": ", ".join(dict.fromkeys(strings(place, row, "entities"))),
        "passage": _sentences(field(place, row, "passage", str)),
    }


def _parse(place: str, row: Row) -> Iterator[Reading]:
    answers = tuple(dict.fromkeys(strings(place, row, "answers")))
    target = next((answer for answer in answers if answer.strip()), None)
    if target is None:
        raise UserError(f"{place}: field 'answers' has no answer")
    yield Reading(_texts(place, row), target, references=answers)


def _sentences(passage: str) -> str:
    first, *highlights = re.split(r"\s*@highlight\s*", passage)
    return " ".join([first, *(text if text.endswith((".", "!", "?", '"', "'")) else f"{text}." for text in highlights)])


RECORD = TextTask(
    name="superglue/record",
    folder="ReCoRD",
    read=read_record,
    texts=_texts,
    parse=_parse,
    hub=HubSource("aps/super_glue", "record", "refs/convert/parquet"),
    template="query: {query} entities: {entities} passage: {passage}",
    answers={},
    metrics=("f1", "exact_match"),
)
