"""MRQA 2019: twelve question answering sets in one format; six to train on, six from other domains to evaluate on.

Wording and scoring are those of `squad.py`. The target is the first answer that was found in the context, which is what can be
learned from it; other spellings that do not occur there count in scoring too. Out-of-domain sets have no training split.

Locally a set is `mrqa/train/SQuAD.jsonl.gz` and `mrqa/dev/SQuAD.jsonl.gz`, one line a paragraph after a header line. On the
hub all sets are one table, whose column `subset` tells them apart; its test split holds those out of domain.
"""

from collections.abc import Iterator
from pathlib import Path

from vip_train.errors import UserError
from vip_train.tasks.fields import field, objects, strings
from vip_train.tasks.reading import Placed, Row, read_jsonl
from vip_train.tasks.task import HubSource, Reading, TextTask

_IN_DOMAIN = {
    "squad": "SQuAD",
    "newsqa": "NewsQA",
    "triviaqa": "TriviaQA-web",
    "searchqa": "SearchQA",
    "hotpotqa": "HotpotQA",
    "naturalquestions": "NaturalQuestionsShort",
}
_OUT_OF_DOMAIN = {
    "bioasq": "BioASQ",
    "drop": "DROP",
    "duorc": "DuoRC.ParaphraseRC",
    "race": "RACE",
    "relationextraction": "RelationExtraction",
    "textbookqa": "TextbookQA",
}


def read_mrqa(path: Path) -> Iterator[Placed]:
    """One row for each question, laid out as on the hub."""
    for place, row in read_jsonl(path):
        if "header" in row:
            continue
        context = field(place, row, "context", str)
        for asked, question in objects(place, row, "qas"):
            found = [field(where, answer, "text", str) for where, answer in objects(asked, question, "detected_answers")]
            yield (
                asked,
                {
                    "context": context,
                    "question": field(asked, question, "question", str),
                    "answers": strings(asked, question, "answers"),
                    "detected_answers": {"text": found},
                },
            )


def _parse(place: str, row: Row) -> Iterator[Reading]:
    answers = tuple(dict.fromkeys(strings(place, row, "answers")))
    detected = strings(place, field(place, row, "detected_answers", dict), "text")
    target = next((answer for answer in (*detected, *answers) if answer.strip()), None)
    if target is None:
        raise UserError(f"{place}: field 'answers' has no answer")
    texts = {name: field(place, row, name, str) for name in ("question", "context")}
    yield Reading(texts, target, references=answers or (target,))


def _task(name: str, subset: str, *, trains: bool) -> TextTask:
    dev = (f"dev/{subset}.jsonl", f"{subset}.jsonl")
    return TextTask(
        name=f"mrqa/{name}",
        folder="mrqa",
        files={"train": (f"train/{subset}.jsonl",), "validation": dev[:1]} if trains else {"validation": dev},
        read=read_mrqa,
        parse=_parse,
        hub=HubSource(
            "mrqa-workshop/mrqa",
            "plain_text",
            "f3178d9888471dfb2b67c93de14f0ddf499a8d9f",
            splits={"train": "train", "validation": "validation" if trains else "test"},
            where=("subset", subset),
        ),
        template="question: {question} context: {context}",
        answers={},
        metrics=("f1", "exact_match"),
    )


MRQA = tuple(
    _task(name, subset, trains=sets is _IN_DOMAIN) for sets in (_IN_DOMAIN, _OUT_OF_DOMAIN) for name, subset in sets.items()
)
