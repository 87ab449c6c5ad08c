"""`vip-train train`, the same as run.py: trains an adapter and says what came of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vip_train import report
from vip_train.config import TrainConfig, parse
from vip_train.training import train
from vip_train.world import is_first


def run(arguments: Sequence[str]) -> None:
    """Trains an adapter. The `deepspeed` launcher is known by the --local_rank it adds."""
    own = [argument for argument in arguments if not argument.startswith("--local_rank")]
    launched = len(own) < len(arguments)
    config = parse(TrainConfig, own, prog="vip-train train", description="Trains a VIP adapter for a frozen T5.")
    folder = train(config, launched_by_deepspeed=launched, command=own)
    if (folder / "results.json").is_file() and is_first():
        print(_summary(folder, launched))


def _summary(folder: Path, launched: bool) -> str:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    name = "model" if (folder / "model").is_dir() else "adapter"
    lines = [
        "",
        *report.score_lines(results, "validation", "majority", "a constant answer"),
        f"training loss    {results['train_nll']:.3f}   (a constant answer: {results['label_entropy']:.3f})",
        *report.code_lines(results, "validation"),
        *_test_lines(results),
        f"{name:<16} {folder / name}",
    ]
    if (folder / f"{name}-last").is_dir():
        when = f"the best, of step {results['step']}; that of the last step, {results['last_step']}, is in {name}-last"
        lines.append(f"                 {when}" + (" (stopped early)" if results["stopped_early"] else ""))
    if not launched and name == "adapter":
        lines.append(
            f"on several processes: deepspeed packages/vip-train/run.py --config {folder / 'config.yaml'} --output NEW_FOLDER"
        )
    return "\n".join(lines)


def _test_lines(results: dict[str, Any]) -> list[str]:
    if "test_nll" not in results:
        return []
    constant = "the best constant answer there"
    return ["test split:", *(f"  {line}" for line in report.score_lines(results, "test", "test_constant", constant))]
