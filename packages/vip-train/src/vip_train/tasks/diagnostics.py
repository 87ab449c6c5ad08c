"""SuperGLUE's diagnostics AX-b and AX-g: entailment again, in pairs of sentences that differ in one point. Evaluated only.

Wording, answers and labels are those of `rte.py`, whose adapter they are for. Metrics: Matthews' correlation (official) and
accuracy for AX-b, accuracy for AX-g. AX-b is read from its file only, as the hub's fields have other names.
"""

from collections.abc import Iterator
from pathlib import Path

from vip_train.tasks.fields import field
from vip_train.tasks.reading import Placed, read_jsonl
from vip_train.tasks.rte import RTE
from vip_train.tasks.task import HubSource, TextTask

_LABELS = tuple(RTE.answers)


def _read(path: Path) -> Iterator[Placed]:
    for place, row in read_jsonl(path):
        yield place, {**row, "premise": field(place, row, "sentence1", str), "hypothesis": field(place, row, "sentence2", str)}


AX_B = TextTask(
    name="superglue/ax-b",
    folder="AX-b",
    files={"validation": ("AX-b.jsonl",)},
    read=_read,
    template=RTE.template,
    answers=RTE.answers,
    metrics=("matthews", "accuracy"),
)

AX_G = TextTask(
    name="superglue/ax-g",
    folder="AX-g",
    files={"validation": ("AX-g.jsonl",)},
    hub=HubSource("aps/super_glue", "axg", "refs/convert/parquet", _LABELS, {"validation": "test"}),
    template=RTE.template,
    answers=RTE.answers,
)
