"""SuperGLUE WiC: does a word mean the same in both sentences?

The word is named, because it may be inflected, and marked with * in both sentences at the published positions, because it may
occur twice. Asterisks are in T5's vocabulary; angle brackets and braces are not. Metric: accuracy.
"""

from collections.abc import Iterator, Mapping

from vip_train.errors import UserError
from vip_train.tasks.fields import field
from vip_train.tasks.reading import Row
from vip_train.tasks.task import HubSource, Reading, TextTask


def _texts(place: str, row: Row) -> Mapping[str, str]:
    texts = {"word": field(place, row, "word", str)}
    for number in "12":
        sentence = field(place, row, f"sentence{number}", str)
        first, end = field(place, row, f"start{number}", int), field(place, row, f"end{number}", int)
        if not 0 <= first < end <= len(sentence):
            raise UserError(
                f"{place}: fields 'start{number}' and 'end{number}' are {first} and {end}, "
                f"the sentence has {len(sentence)} characters"
            )
        texts[f"sentence{number}"] = f"{sentence[:first]}*{sentence[first:end]}*{sentence[end:]}"
    return texts


def _parse(place: str, row: Row) -> Iterator[Reading]:
    texts = _texts(place, row)
    if "label" not in row:
        raise UserError(f"{place}: field 'label' is missing, found {', '.join(map(repr, row))}")
    yield Reading(texts, str(row["label"]).lower())


WIC = TextTask(
    name="superglue/wic",
    folder="WiC",
    texts=_texts,
    parse=_parse,
    hub=HubSource("aps/super_glue", "wic", "refs/convert/parquet", ("false", "true")),
    template="word: {word} sentence1: {sentence1} sentence2: {sentence2} same meaning?",
    answers={"false": "no", "true": "yes"},
)
