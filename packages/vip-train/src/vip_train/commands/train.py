"""`vip-train train`, the same as run.py: trains an adapter and says what came of it."""

import json
from collections.abc import Sequence
from pathlib import Path

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
    lines = [""]
    names = [key.removeprefix("majority_") for key in results if key.startswith("majority_")]
    width = max(16, *map(len, names))
    for name in names:
        score, constant = results[f"validation_{name}"], results[f"majority_{name}"]
        below = ", which is better" if score < constant else ""
        lines.append(f"{name:<{width}} {score:.3f}   (a constant answer: {constant:.3f}{below})")
        lines += [
            f"  {key.removeprefix(f'validation_{name}/'):<30} {value:.3f}"
            for key, value in results.items()
            if key.startswith(f"validation_{name}/") and f"majority_{key.removeprefix('validation_')}" not in results
        ]
    if results["validation_unparsed"]:
        lines.append(f"unparsed         {results['validation_unparsed']} answers, counted as wrong")
    lines += [
        f"training loss    {results['train_nll']:.3f}   (a constant answer: {results['label_entropy']:.3f})",
    ]
    if results["validation_code_perplexity"]:
        used = f"({results['validation_codes_used']:.0%} of the codes used)"
        lines.append(f"code perplexity  {results['validation_code_perplexity']:.1f}   {used}")
        for about in ("label", "group"):
            bits, shuffled = results[f"validation_{about}_bits"], results[f"validation_{about}_bits_shuffled"]
            if not shuffled:
                continue  # all examples are of one group
            lines.append(f"bits on {about}    {bits:.4f} per prompt token   ({shuffled:.4f} with {about}s shuffled)")
    name = "model" if (folder / "model").is_dir() else "adapter"
    lines.append(f"{name:<16} {folder / name}")
    if (folder / f"{name}-last").is_dir():
        when = f"the best, of step {results['step']}; that of the last step, {results['last_step']}, is in {name}-last"
        lines.append(f"                 {when}" + (" (stopped early)" if results["stopped_early"] else ""))
    if not launched and name == "adapter":
        lines.append(
            f"on several processes: deepspeed packages/vip-train/run.py --config {folder / 'config.yaml'} --output NEW_FOLDER"
        )
    return "\n".join(lines)
