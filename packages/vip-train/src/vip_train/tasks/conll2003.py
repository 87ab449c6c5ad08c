"""CoNLL-2003: which persons, organizations, locations and other names does a sentence name?

The source is the sentence, its tokens joined by spaces. The target lists the names in order, each with its type in words,
"person: Peter Blackburn; location: Brussels", or says "none": tags for every token would be far longer, and T5 writes words
better than brackets. `listing.py` turns a list into tags again; metric: F1 over whole entities, by seqeval, against the gold
tags.

Files are eng.train and eng.testa (or train.txt and valid.txt), one token a line, its tag in the last column, IOB1 as published
or IOB2.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from vip_train.errors import UserError
from vip_train.tasks.fields import field, strings
from vip_train.tasks.listing import TYPES, to_iob2, write_listing
from vip_train.tasks.reading import Placed, Row, open_text
from vip_train.tasks.task import HubSource, Reading, TextTask

_HUB_TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")
_TAGS = {"O"} | {f"{start}-{kind}" for start in "BI" for kind in TYPES}


def read_conll(path: Path) -> Iterator[Placed]:
    """One row for each sentence: its tokens and their tags. The place is the line of its first token."""
    tokens: list[str] = []
    tags: list[str] = []
    place = ""
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            columns = line.split()
            if columns and columns[0] != "-DOCSTART-":
                if len(columns) < 2 or columns[-1] not in _TAGS:
                    raise UserError(
                        f"{path}:{number}: the last column must be a tag, O or B or I with {', '.join(TYPES)}, as in 'I-PER'; "
                        f"found {columns[-1]!r}"
                    )
                place = place or f"{path}:{number}"
                tokens.append(columns[0])
                tags.append(columns[-1])
            elif tokens:
                yield place, {"tokens": tokens, "ner_tags": tags}
                tokens, tags, place = [], [], ""
    if tokens:
        yield place, {"tokens": tokens, "ner_tags": tags}


def _texts(place: str, row: Row) -> Mapping[str, str]:
    return {"sentence": " ".join(strings(place, row, "tokens"))}


def _parse(place: str, row: Row) -> Iterator[Reading]:
    tokens = strings(place, row, "tokens")
    found = field(place, row, "ner_tags", list)
    tags = [_HUB_TAGS[tag] if isinstance(tag, int) and 0 <= tag < len(_HUB_TAGS) else tag for tag in found]
    if unknown := [tag for tag in tags if tag not in _TAGS]:
        raise UserError(f"{place}: field 'ner_tags' has {unknown[0]!r}, which is no tag")
    if len(tags) != len(tokens) or not tokens:
        raise UserError(f"{place}: field 'ner_tags' has {len(tags)} tags for {len(tokens)} tokens")
    tags = to_iob2(tags)
    references = tuple(f"{token} {tag}" for token, tag in zip(tokens, tags, strict=True))
    yield Reading(_texts(place, row), write_listing(tokens, tags), references=references)


CONLL2003 = TextTask(
    name="conll2003",
    folder="conll2003",
    files={"train": ("eng.train", "train.txt"), "validation": ("eng.testa", "valid.txt")},
    read=read_conll,
    texts=_texts,
    parse=_parse,
    hub=HubSource("eriktks/conll2003", "conll2003", "refs/convert/parquet"),
    template="sentence: {sentence}",
    answers={},
    metrics=("entity_f1",),
)
