"""`vip-train compare`: trains soft prompt tuning and VIP on one task and shows them side by side."""

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from vip_train.adapter import load_adapter
from vip_train.commands.flags import divide
from vip_train.config import TrainConfig, parse
from vip_train.errors import Stopped, UserError
from vip_train.evaluation import Seen, evaluate
from vip_train.runs import METRICS_FILE, next_output
from vip_train.scoring import Scoring
from vip_train.study.figures import Measured, measure
from vip_train.study.file import Study
from vip_train.study.plan import Cell, plan
from vip_train.study.running import complaint, devices, train_cells
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World

METHODS = {"PT": {"vip.method": "pt", "optimizer.prompt_learning_rate": "0.3"}, "VIP": {}}
"""Both have as many prompt tokens. Static ones alone want a larger rate; 0.3 is the paper's, with another optimizer."""
_SHOWN = 3
"""Codes named for each group."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """One comparison. All other flags are settings of both runs, as `vip-train train` has them."""

    output: Path | None = None
    """Folder, new or to be continued; by default the next free runs/compare-<task>-<number>."""
    seed: int = 0
    """Of both runs."""
    workers: int | None = None
    """Runs at a time; by default one for each GPU, or both on a CPU of two cores or more."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers={self.workers} must be at least 1")


def run(arguments: Sequence[str]) -> None:
    """Trains both and prints what came of it."""
    own, others = divide(CompareConfig, arguments)
    config = parse(CompareConfig, own, prog="vip-train compare", description=CompareConfig.__doc__ or "")
    trained = parse(TrainConfig, others, prog="vip-train compare")
    if trained.full_fine_tuning or trained.vip.method != "vip":
        raise UserError("vip.method, full_fine_tuning: compare trains methods pt and vip; for others see vip-train study")
    output = config.output or next_output(f"compare-{trained.run_name}")
    study = Study(
        config=None,
        base={},
        methods=METHODS,
        tasks={trained.run_name: {"task": trained.task}},
        seeds=(config.seed,),
        axes={},
        baseline=None,
    )
    cells = plan(study, output, others, path=output)
    unfinished = [cell for cell in cells if not cell.is_finished()]
    tqdm.write(f"{trained.run_name}: soft prompt tuning (PT) and VIP, {trained.optimizer.steps} steps each; in {output}")
    workers = config.workers or (None if torch.cuda.is_available() else min(len(cells), os.cpu_count() or 1))
    for cell in cells:
        tqdm.write(f"{cell.method:<4} learning rate {_rates(cell)}")
    again = f"the same command with --output {shlex.quote(str(output))}"
    news = _News(unfinished)
    try:
        failures = train_cells(unfinished, devices(workers), news.show) if unfinished else []
    except Stopped as error:
        raise Stopped(f"stopped by a signal; {again} continues") from error
    if failures:
        raise UserError(complaint(failures, again))
    measured = measure(cells)
    adapter = cells[-1].path / "adapter"
    print("\n".join([*_scores(measured), *_code_use(cells[-1], adapter), *_next_steps(adapter)]))


def _rates(cell: Cell) -> str:
    optimizer, vip = cell.config.optimizer, cell.config.vip
    if not vip.contextualizes:
        return f"{optimizer.prompt_learning_rate}"
    codes = f"codes from step {vip.quantizer.warmup_steps + 1} on"
    return f"{optimizer.prompt_learning_rate}, of the contextualizer {optimizer.contextualizer_learning_rate}; {codes}"


class _News:
    """Says each evaluation of some runs once, while they run."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells, self._said = cells, [0] * len(cells)

    def show(self) -> None:
        """What is new."""
        for place, cell in enumerate(self._cells):
            path = cell.path / METRICS_FILE
            lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
            for line in lines[self._said[place] :]:
                found = json.loads(line)
                score = next(name for name in found if name.startswith("validation_"))
                tqdm.write(
                    f"{cell.method:<4} step {found['step']:>5}  training loss {found['train_nll']:.3f}  "
                    f"{score.removeprefix('validation_')} {found[score]:.3f}"
                )
            self._said[place] = len(lines)


def _scores(measured: Sequence[Measured]) -> list[str]:
    """A line for each metric, and below the first those of its groups."""
    first, *others = measured[0].metrics
    groups = [name.removeprefix("validation_") for name in measured[0].results if name.startswith(f"validation_{first}/")]
    names = [first, *(name for name in groups if name not in others), *others]
    width = max(len("validation split"), *(len(name) for name in names))
    lines = ["", f"{'validation split':<{width}}  constant" + "".join(f"{one.cell.method:>8}" for one in measured)]
    for name in names:
        shown = f"  {name.partition('/')[2]}" if name in groups and name not in others else name
        constant = f"{measured[0].constant(name):8.3f}" if name in measured[0].metrics else " " * 8
        lines.append(f"{shown:<{width}}  {constant}" + "".join(f"{one.score(name):8.3f}" for one in measured))
    trained = "".join(f"{one.results['trained_parameters']:>8,}" for one in measured)
    one_of_many = "One seed, and learning rates as they come: `vip-train study` searches them and compares over seeds."
    return [*lines, f"{'parameters':<{width}}  {'':8}{trained}", one_of_many]


@torch.no_grad()
def _code_use(cell: Cell, path: Path) -> list[str]:
    """The codes that inputs of each group take most, and what share of the group's prompt tokens they are."""
    adapter = load_adapter(path)
    task = cell.config.get_task()
    split = TokenisedSplit(cell.config.load(task, "validation"), adapter.tokenizer, cell.config.max_source_length)
    use: dict[str, Tensor] = {}

    def observe(seen: Seen) -> None:
        for row, weight_PK in zip(seen.row_B.tolist(), seen.weight_BPK.cpu(), strict=True):
            example = split.examples[row]
            name = example.group or example.task or (example.target if task.answers else "")
            use[name] = use.get(name, 0) + weight_PK.sum(0)

    world = World(rank=0, size=1, device=adapter.model.backbone.device)
    evaluate(adapter.model, split, Scoring.of(task), adapter.tokenizer, world, observe=observe)
    if not any(use_K.sum() for use_K in use.values()):
        return ["", "codes are not in use yet: their warm-up is longer than the run"]
    width = max(map(len, use))
    lines = ["", "codes that VIP selects, the most frequent ones of each group"]
    for name, use_K in sorted(use.items()):
        share_K = use_K / use_K.sum()
        most = share_K.topk(min(_SHOWN, len(share_K)))
        shown = "   ".join(f"{code:>3} {share:4.0%}" for share, code in zip(*(part.tolist() for part in most), strict=True))
        lines.append(f"  {name:<{width}}  {shown}")
    return lines


def _next_steps(adapter: Path) -> list[str]:
    return ["", f"adapter of VIP: {adapter}", f"see it: vip-demo --adapter {shlex.quote(str(adapter))}"]
