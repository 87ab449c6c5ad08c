"""ANLI, rounds 1 to 3: entailment that people wrote to mislead a model, a stronger one each round.

Wording and answers are those of `cb.py`, so that adapters can be compared across the sets of entailment. Locally it is the
published folder `anli_v1.0` with `R1/train.jsonl` and `R1/dev.jsonl`; there a premise is called context and labels are e, n
and c. Metric: accuracy.
"""

from collections.abc import Iterator
from pathlib import Path

from vip_train.tasks.cb import CB
from vip_train.tasks.fields import field
from vip_train.tasks.reading import Placed, read_jsonl
from vip_train.tasks.task import HubSource, TextTask

_LABELS = {"e": "entailment", "n": "neutral", "c": "contradiction"}


def read_anli(path: Path) -> Iterator[Placed]:
    """Rows laid out as on the hub."""
    for place, row in read_jsonl(path):
        label = field(place, row, "label", str)
        yield place, {**row, "premise": field(place, row, "context", str), "label": _LABELS.get(label, label)}


ANLI = tuple(
    TextTask(
        name=f"anli/r{number}",
        folder=f"anli_v1.0/R{number}",
        files={"train": ("train.jsonl",), "validation": ("dev.jsonl",)},
        read=read_anli,
        hub=HubSource(
            "facebook/anli",
            "plain_text",
            "refs/convert/parquet",
            tuple(_LABELS.values()),
            {"train": f"train_r{number}", "validation": f"dev_r{number}"},
        ),
        template=CB.template,
        answers=CB.answers,
    )
    for number in (1, 2, 3)
)
