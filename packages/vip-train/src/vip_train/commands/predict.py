"""`vip-train predict`: answers the rows of a file or of stdin, one line of JSON for each."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vip_core.config import Evaluation

from vip_train.adapter import Adapter
from vip_train.config import parse
from vip_train.errors import UserError
from vip_train.lines import STANDARD, Codes, codes_of, json_lines, short
from vip_train.predict import predict
from vip_train.serving import LoadingConfig, Throughput, fixed_answers, other_answers
from vip_train.sources import Format, Source, Sources
from vip_train.splits import check_encoding
from vip_train.tasks import TASKS, TextTask


@dataclass(frozen=True, kw_only=True)
class PredictConfig(LoadingConfig):
    """One adapter and what it is to answer."""

    input: Path = STANDARD
    """Rows to answer, packed if its name ends in .gz; - is stdin."""
    output: Path = STANDARD
    """File for the answers, which appears when it is complete; - is stdout."""
    overwrite: bool = False
    """Whether the file may be there already."""
    input_format: Format = "auto"
    """`jsonl`: a line is a JSON object. `text`: a line is a text. `csv`, `tsv`: a table with the columns' names on top. `auto`:
    as the name ends, .jsonl, .txt, .csv or .tsv; without an ending, as of stdin, JSON lines if the first begins with a {."""
    encoding: str = "utf-8"
    """Of a table; JSON lines and text are UTF-8."""
    source_column: str = "source"
    """Column of JSON lines or of a table that has the text, in the wording of the adapter's task."""
    task: str = ""
    """Words the rows by the template of this task, whose columns they have, and takes its fixed answers."""
    skip_bad_rows: bool = False
    """Whether bad rows are passed over and counted; by default the first one ends the command."""
    how: Evaluation | None = None
    """How codes are selected; by default as the adapter says."""
    batch_size: int = 32
    """Rows per pass."""
    length_window: int = 4
    """Batches that are read together and sorted by length, so that less is padded. With 1 the answers of a batch are written
    before the next one is read."""
    max_new_tokens: int = 16
    """Limit of a written answer."""
    codes: Codes = "main"
    """What is said of each prompt token: its `main` code, the `weights` of its codes, or `none`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "length_window", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        check_encoding(self.encoding)


def run(arguments: Sequence[str]) -> None:
    """Answers rows; what is no answer goes to stderr."""
    config = parse(PredictConfig, arguments, prog="vip-train predict", description="Answers rows with an adapter.")
    task = _task(config.task)
    sources = Sources(
        config.input, config.input_format, config.source_column, task, skip_bad=config.skip_bad_rows, encoding=config.encoding
    )
    with json_lines(config.output, overwrite=config.overwrite) as write:
        adapter = config.load_adapter()
        if task is not None:
            if note := other_answers(adapter.config, task):
                print(note, file=sys.stderr)
            adapter = adapter._replace(config=replace(adapter.config, answers=fixed_answers(task)))
        throughput = Throughput()
        for record in _records(adapter, iter(sources), config, throughput):
            write(record)
    if sources.skipped:
        print(f"{sources.skipped:,} bad rows were skipped, the first: {sources.first_skipped}", file=sys.stderr)
    print(throughput, file=sys.stderr)


def _task(name: str) -> TextTask | None:
    if name and name not in TASKS:
        raise UserError(f"task={name}: is no single task, there are {', '.join(sorted(TASKS))}")
    return TASKS[name] if name else None


def _records(
    adapter: Adapter, sources: Iterator[Source], config: PredictConfig, throughput: Throughput
) -> Iterator[dict[str, Any]]:
    """The answers in order, a window of rows at a time."""
    # There is nothing to be sorted in batches of one row.
    at_once = config.batch_size * config.length_window if config.batch_size > 1 else 1
    while window := list(islice(sources, at_once)):
        rows = sorted(range(len(window)), key=lambda row: len(window[row].text), reverse=True)
        texts = [window[row].text for row in rows]
        found = predict(adapter, texts, how=config.how, batch_size=config.batch_size, max_new_tokens=config.max_new_tokens)
        records = {}
        for row, one in zip(rows, found, strict=True):
            throughput.add(1, one.source_tokens)
            records[row] = {
                "line": window[row].line,
                **window[row].name,
                "prediction": one.answer,
                "scores": {answer: short(value) for answer, value in one.probability.items()},
                **codes_of(one.weight_PK, config.codes),
            }
        yield from (records[row] for row in range(len(window)))
