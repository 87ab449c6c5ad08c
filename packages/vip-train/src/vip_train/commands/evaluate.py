"""`vip-train evaluate`: scores an adapter on a split of a task, as training does."""

import json
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vip_train import report
from vip_train.config import parse
from vip_train.errors import UserError
from vip_train.evaluation import Seen, evaluate
from vip_train.lines import NOT_FINITE, STANDARD, Codes, Write, codes_of, json_lines, short
from vip_train.scoring import Scoring
from vip_train.serving import LoadingConfig, Throughput, other_answers
from vip_train.splits import DataConfig
from vip_train.stored import StoredExamples
from vip_train.tasks import Example, get_task
from vip_train.tasks.own import OwnTask
from vip_train.tasks.task import Split
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(DataConfig, LoadingConfig):
    """One adapter and the examples it is scored on."""

    task: str = ""
    """Name of a task or of several, as in training; by default what the adapter was trained for. It has its own answers.
    A table of your own is named by `validation_file`, and has the adapter's answers if `labels` says no others."""
    split: Split = "validation"
    """Which examples."""
    batch_size: int = 64
    """Examples per pass. Training has 64; another number changes last digits."""
    json: bool = False
    """Whether the figures are printed as one JSON object."""
    output: Path | None = None
    """File for the answer to each example, JSON lines; it appears when it is complete. With - they go to stdout, and the
    figures to stderr."""
    overwrite: bool = False
    """Whether that file may be there already."""
    codes: Codes = "main"
    """What its lines say of each prompt token: its `main` code, the `weights` of its codes, or `none`."""

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        LoadingConfig.__post_init__(self)
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")


def run(arguments: Sequence[str]) -> None:
    """Scores an adapter; stdout has the figures alone, or the answers alone."""
    config = parse(EvaluateConfig, arguments, prog="vip-train evaluate", description="Scores an adapter on a split of a task.")
    opened = nullcontext() if config.output is None else json_lines(config.output, overwrite=config.overwrite)
    with opened as write:
        figures = _evaluate(config, write)
    text = json.dumps(figures, allow_nan=False) if config.json else _table(figures, config.split)
    print(text, file=sys.stderr if config.output == STANDARD else sys.stdout)


def _evaluate(config: EvaluateConfig, write: Write | None) -> dict[str, Any]:
    facts = config.read_adapter()
    if config.has_own_files:
        # An adapter that was trained on such a table knows its labels.
        config = replace(config, labels=config.labels or facts.answers)
        task, name = config.get_task(), str(config.validation_file or config.train_file)
    else:
        if not (name := config.task or facts.task):
            raise UserError(f"{config.adapter}: does not say what it was trained for; name a task by --task, or a file")
        task = get_task(name)
    if note := other_answers(facts, task):
        print(note, file=sys.stderr)
    examples = config.load(task, config.split)
    if isinstance(task, OwnTask) and task.skipped.rows:
        print(f"{task.skipped.rows:,} bad rows were skipped, the first: {task.skipped.reasons[0]}", file=sys.stderr)
    adapter = config.load_adapter()
    split = TokenisedSplit(examples, adapter.tokenizer, facts.max_source_length)
    # A mixture has no training examples of parts that are evaluated only.
    there = {example.task for example in examples}
    scoring = Scoring({part: one for part, one in task.parts.items() if part in there}, task.weights)
    # Before the clock starts: metrics import libraries that take seconds.
    constant = scoring.baseline(examples, examples)
    lines = _Lines(examples, scoring, config.codes)
    world = World(rank=0, size=1, device=adapter.model.backbone.device)
    throughput = Throughput()
    found = evaluate(
        adapter.model,
        split,
        scoring,
        adapter.tokenizer,
        world,
        batch_size=config.batch_size,
        observe=lines.observe if write else None,
    )
    throughput.add(len(split), int(split.source_length_N.sum()))
    if not math.isfinite(found.nll):
        raise UserError(NOT_FINITE)
    if write:
        for row, answer in enumerate(found.answers):
            write(lines.record(row, answer))
    print(throughput, file=sys.stderr)
    return {
        "task": name,
        "split": config.split,
        "examples": len(split),
        "truncated": split.truncated,
        **{f"{config.split}_{figure}": value for figure, value in found.record().items()},
        **{f"constant_{figure}": value for figure, value in constant.scores.items()},
        "label_entropy": constant.entropy,
    }


class _Lines:
    """What is said of each example: how likely answers are, as it is answered; the answer itself, when all are."""

    def __init__(self, examples: Sequence[Example], scoring: Scoring, codes: Codes) -> None:
        self._examples, self._scoring, self._codes = examples, scoring, codes
        self._seen: dict[int, dict[str, Any]] = {}

    def observe(self, seen: Seen) -> None:
        """Takes a batch."""
        place = {choice: number for number, choice in enumerate(seen.choices)}
        batch = zip(seen.row_B.tolist(), seen.nll_B.tolist(), seen.nll_BA.cpu(), seen.weight_BPK.cpu(), strict=True)
        for row, nll, nll_A, weight_PK in batch:
            own = self._scoring.choices(self._examples[row])
            score_A = nll_A[[place[choice] for choice in own]].neg().softmax(0)
            self._seen[row] = {
                "nll": short(nll),
                "scores": {choice: short(score) for choice, score in zip(own, score_A.tolist(), strict=True)},
                **codes_of(weight_PK, self._codes),
            }

    def record(self, row: int, answer: str) -> dict[str, Any]:
        """All of an example but its source."""
        example = self._examples[row]
        facts = {name: getattr(example, name) for name in ("task", "group", "question", "references")}
        return {
            "row": row + 1,
            **({"line": self._examples.line(row)} if isinstance(self._examples, StoredExamples) else {}),
            **{name: value for name, value in facts.items() if value},
            "prediction": answer,
            "target": example.target,
            **self._seen[row],
        }


def _table(figures: dict[str, Any], split: Split) -> str:
    cut = f", {figures['truncated']} of them cut" if figures["truncated"] else ""
    return "\n".join(
        [
            f"{figures['task']}, {split} split: {figures['examples']} examples{cut}",
            *report.score_lines(figures, split, "constant", "the best constant answer on this split"),
            f"loss             {figures[f'{split}_nll']:.3f}   (a constant answer: {figures['label_entropy']:.3f})",
            *report.code_lines(figures, split),
        ]
    )
