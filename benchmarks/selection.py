"""Whether the codes an input selects tell anything of it: the recommended preset and its alternatives, over tasks and seeds.

Trains on the bundled backbone and prints a row per variant. Without flags only the recommended preset, on `forms`, three
seeds; the last lines say whether perplexity reaches 25 % of K and the information on label or domain 10 times its shuffled
value in every run. Finished runs are kept in --output and not repeated.

    nox -s bench -- selection [--variants all] [--tasks reviews forms] [--seeds 0 1 2] [--jobs 2] [--output runs/selection]
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).parent
RECOMMENDED = "recommended"
QUANTIZER = "--vip.quantizer."
CONTEXTUALIZER = "--vip.contextualizer."
AFTER = "--vip.quantizer.space=embedding"
PAPER = HERE.parent / "packages/vip-train/configs/paper.yaml"

# Name -> candidate of _candidates.py, then flags.
VARIANTS: dict[str, list[str]] = {
    RECOMMENDED: ["-"],
    "PT": ["-", "--vip.method=pt", "--optimizer.prompt-learning-rate=0.1"],
    "VIP-C": ["-", "--vip.method=vip-c"],
    "VIP-Q": ["-", "--vip.method=vip-q"],
    "no skip": ["-", "--vip.skip=false"],
    "contextualizer as the paper's": [
        "-", f"{CONTEXTUALIZER}norm=post", f"{CONTEXTUALIZER}activation=relu", f"{CONTEXTUALIZER}dropout=0.1",
        f"{CONTEXTUALIZER}width=32", f"{CONTEXTUALIZER}feedforward=64",
    ],
    "post-LN": ["-", f"{CONTEXTUALIZER}norm=post"],
    "C=32": ["-", f"{CONTEXTUALIZER}width=32"],
    "C=128": ["-", f"{CONTEXTUALIZER}width=128"],
    "no warm-up": ["-", f"{QUANTIZER}warmup-steps=0"],
    "warm-up 100": ["-", f"{QUANTIZER}warmup-steps=100"],
    "λ=0.99": ["-", f"{QUANTIZER}decay=0.99"],
    "λ=0.8": ["-", f"{QUANTIZER}decay=0.8"],
    "no revival": ["-", f"{QUANTIZER}revive-below=0"],
    "revival under 20 %": ["-", f"{QUANTIZER}revive-below=0.2"],
    "the release's average": ["-", f"{QUANTIZER}ema=reference"],
    "τ=100": ["-", f"{QUANTIZER}temperature=100"],
    "K=100": ["-", f"{QUANTIZER}codes=100"],
    "prompt lr 0.01": ["-", "--optimizer.prompt-learning-rate=0.01"],
    "prompt lr 0.1": ["-", "--optimizer.prompt-learning-rate=0.1"],
    "contextualizer lr 0.001": ["-", "--optimizer.contextualizer-learning-rate=0.001"],
    "contextualizer lr 0.01": ["-", "--optimizer.contextualizer-learning-rate=0.01"],
    "M=1": ["-", f"{QUANTIZER}draws=1"],
    "β=1": ["-", f"{QUANTIZER}commitment=1"],
    "τ: distance to the nearest": ["nearest"],
    "τ: half the gap to the second": ["half gap"],
    "τ: entropy alone": ["entropy"],
    "codes after W_up": ["-", AFTER],
    "codes after W_up, cosine distance": ["cosine", AFTER],
    "codes after W_up, whitened": ["whitened", AFTER],
    "codes after W_up, standardised": ["standardised", AFTER],
    "whitened": ["whitened"],
    "codes per position": ["per position"],
    "balance loss": ["balance loss"],
}  # fmt: skip


class Cell(NamedTuple):
    """One run of the study."""

    variant: str
    task: str
    seed: int


def run(cell: Cell, output: Path, flags: list[str]) -> dict[str, Any]:
    """Trains in a process of its own, unless that was done before; returns results.json."""
    folder = output / cell.task.replace("/", "-") / cell.variant.replace(" ", "-") / str(cell.seed)
    if not (folder / "results.json").is_file():
        candidate, *own = VARIANTS[cell.variant]
        command = [
            sys.executable,
            str(HERE / "_candidates.py"),
            candidate,
            f"--task={cell.task}",
            f"--optimizer.seed={cell.seed}",
        ]
        done = subprocess.run(
            [*command, *flags, *own, f"--output={folder}"],
            env={"OMP_NUM_THREADS": "1", **os.environ},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{cell}: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    found["codes"] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["vip"]["quantizer"]["codes"]
    print(f"  {cell.task:12} {cell.variant:30} seed {cell.seed}  " + "  ".join(figures([found])), file=sys.stderr, flush=True)
    return dict(found)


COLUMNS = (
    "accuracy, lowest",
    "perplexity",
    "codes used",
    "of one token",
    "bits: input",
    "label",
    "shuffled",
    "domain",
    "shuffled",
)


def figures(found: list[dict[str, Any]]) -> list[str]:
    """One row: means over runs."""

    def over_runs(name: str) -> float:
        return mean(one[f"validation_{name}"] for one in found)

    lowest = min(one["validation_accuracy"] for one in found)
    row = [f"{over_runs('accuracy'):.3f}, {lowest:.3f}"]
    row += [f"{over_runs('code_perplexity'):.1f}", f"{over_runs('codes_used'):.0%}", f"{over_runs('token_perplexity'):.2f}"]
    bits = ("input_bits", "label_bits", "label_bits_shuffled", "group_bits", "group_bits_shuffled")
    return row + [f"{over_runs(name):.4f}" for name in bits]


def goal(found: dict[str, Any]) -> bool:
    """Perplexity at least 25 % of K; information on label or domain at least 10 times its shuffled value."""
    codes = found["validation_code_perplexity"] / found["codes"] >= 0.25
    return codes and any(
        found[f"validation_{about}_bits"] >= 10 * found[f"validation_{about}_bits_shuffled"] > 0 for about in ("label", "group")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=[RECOMMENDED], choices=[*VARIANTS, "all"], metavar="NAME")
    parser.add_argument("--tasks", nargs="+", default=["forms"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, one thread each")
    parser.add_argument("--output", type=Path, default=Path("runs/selection"))
    args, flags = parser.parse_known_args()
    names = list(VARIANTS) if "all" in args.variants else args.variants
    cells = [Cell(name, task, seed) for task in args.tasks for seed in args.seeds for name in names]
    with ThreadPoolExecutor(args.jobs) as pool:
        found = dict(zip(cells, pool.map(lambda cell: run(cell, args.output, flags), cells), strict=True))
    for task in args.tasks:
        print(f"\n{task}, seeds {', '.join(map(str, args.seeds))}\n\n| variant | {' | '.join(COLUMNS)} |")
        print("|---" * (1 + len(COLUMNS)) + "|")
        for name in names:
            print(f"| {name} | {' | '.join(figures([found[Cell(name, task, seed)] for seed in args.seeds]))} |")
    print()
    if RECOMMENDED in names:
        missed = [cell for cell, one in found.items() if cell.variant == RECOMMENDED and not goal(one)]
        print("perplexity >= 25 % of K and bits >= 10 x shuffled: " + (f"missed by {missed}" if missed else "in every run"))
        sys.exit(bool(missed))


if __name__ == "__main__":
    main()
