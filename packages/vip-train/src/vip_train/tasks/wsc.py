"""SuperGLUE WSC: does the pronoun mean that name?

Both are marked in the text, the name with * and the pronoun with #, and named after it. T5 has the pronoun's name written
instead, which can use only the rows that are true; judging yes or no uses all rows and is what is scored. Metric: accuracy.

Two of the published positions miss their words: a position whose word is not the span's is moved to the nearest that is.
"""

import re
from collections.abc import Iterator, Mapping

from vip_train.errors import UserError
from vip_train.tasks.fields import field, marked
from vip_train.tasks.reading import Row
from vip_train.tasks.task import HubSource, Reading, TextTask


def _texts(place: str, row: Row) -> Mapping[str, str]:
    words = field(place, row, "text", str).split()
    spans = field(place, row, "target", dict) if "target" in row else row  # the hub has its fields beside the others
    texts, marks = {}, []
    for number, mark in ("1", "*"), ("2", "#"):
        span = field(place, spans, f"span{number}_text", str).split()
        index = field(place, spans, f"span{number}_index", int)
        first = _nearest(words, span, index)
        if first is None:
            raise UserError(f"{place}: field 'span{number}_text' is {' '.join(span)!r}, which is not in the text")
        marks.append((first, first + len(span), mark))
        texts[f"span{number}"] = f"{mark}{' '.join(span)}{mark}"
    return {**texts, "text": marked(place, words, *marks)}


def _parse(place: str, row: Row) -> Iterator[Reading]:
    texts = _texts(place, row)
    if "label" not in row:
        raise UserError(f"{place}: field 'label' is missing, found {', '.join(map(repr, row))}")
    yield Reading(texts, str(row["label"]).lower())


def _nearest(words: list[str], span: list[str], index: int) -> int | None:
    """Where the words of the span stand, at the position or nearest to it. The last one may have an ending, as in Emma's."""
    wanted = _plain(span)
    places = [at for at in range(len(words)) if wanted and _plain(words[at : at + len(span)]).startswith(wanted)]
    return min(places, key=lambda at: abs(at - index), default=None)


def _plain(words: list[str]) -> str:
    return re.sub(r"\W", "", "".join(words)).lower()


WSC = TextTask(
    name="superglue/wsc",
    folder="WSC",
    texts=_texts,
    parse=_parse,
    hub=HubSource("aps/super_glue", "wsc", "refs/convert/parquet", ("false", "true")),
    template="{text} Is {span2} {span1}?",
    answers={"false": "no", "true": "yes"},
)
