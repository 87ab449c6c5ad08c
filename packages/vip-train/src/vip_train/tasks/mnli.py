"""MultiNLI: entailment in ten genres; validation is the matched dev set, or the mismatched one of genres not trained on.

Wording and answers are those of `cb.py`, so that adapters can be compared across the sets of entailment. Locally it is the
published folder `multinli_1.0`. Pairs on which annotators did not agree, label "-", are passed over, as published results do.
The genre is the group of an example; GLUE on the hub has none. Metric: accuracy.
"""

from collections.abc import Iterator
from pathlib import Path

from vip_train.tasks.cb import CB
from vip_train.tasks.fields import field
from vip_train.tasks.reading import Placed, read_jsonl
from vip_train.tasks.task import HubSource, Split, TextTask

_LABELS = ("entailment", "neutral", "contradiction")


def read_mnli(path: Path) -> Iterator[Placed]:
    """Rows laid out as on the hub."""
    for place, row in read_jsonl(path):
        label = field(place, row, "gold_label", str)
        if label != "-":
            premise, hypothesis = (field(place, row, name, str) for name in ("sentence1", "sentence2"))
            yield place, {"premise": premise, "hypothesis": hypothesis, "label": label, "genre": row.get("genre", "")}


def _task(name: str, dev: str, *, trains: bool) -> TextTask:
    train: dict[Split, tuple[str, ...]] = {"train": ("multinli_1.0_train.jsonl",)} if trains else {}
    return TextTask(
        name=name,
        folder="multinli_1.0",
        files={**train, "validation": (f"multinli_1.0_dev_{dev}.jsonl",)},
        read=read_mnli,
        hub=HubSource(
            "nyu-mll/glue", "mnli", "refs/convert/parquet", _LABELS, {"train": "train", "validation": f"validation_{dev}"}
        ),
        template=CB.template,
        answers=CB.answers,
        group_field="genre",
    )


MNLI = (_task("mnli", "matched", trains=True), _task("mnli-mismatched", "mismatched", trains=False))
