"""A training step of VIP and PT beside PEFT's prompt tuning, alone and in transformers' Trainer: speed and memory.

All candidates train in this process around one frozen T5 with random weights, on the same examples, with AdamW, gradient
clipping at 1, and the same batch size, precision and prompt length. They take turns; a figure is the median over rounds, and a
round is one pass over all examples. On CPUs with OMP_NUM_THREADS=1 time is what the process computes, so that work beside it
counts little; else it is the wall clock's. Memory is weights plus the most that was held at once in a pass. Rows:

- PT: ours, method `pt`, as `vip-train train` runs it: tokenised once, the next batch made ahead, backbone dropout off. All
  ratios are to this row or to the Trainer's.
- VIP: the recommended setting at this P, K = 10·P, past its warm-up. VIP paper: `VIPConfig.paper()`.
- VIP, in parts: the same step from the same examples, --part of them at a time, longest first, so that few are padded.
- PEFT: PromptTuningConfig(SEQ_2_SEQ_LM), its default of two tables, in a loop of DataLoader(shuffle=True) and
  DataCollatorForSeq2Seq, which pads to the longest of a batch; backbone dropout off.
- PEFT + Trainer: Seq2SeqTrainer with its defaults and the same collator; backbone dropout at T5's default of 0.1.
- PEFT + Trainer, max_length: the same, every source padded to --max-length in advance, as in PEFT's own example
  (examples/conditional_generation/peft_prompt_tuning_seq2seq_with_generate.ipynb).
- PEFT + Trainer, dropout off: the same as PEFT + Trainer but for that; shows what of the difference dropout is.

Texts are those of SuperGLUE CB and BoolQ in VIP_DATA_DIR (or its subfolder superglue), as many of each, cut into tokens by the
bundled vocabulary; without that folder random tokens, of lengths whose logarithm is normal. A pass reads the examples that
divide the sorted lengths evenly.

    nox -s bench -- train_step [--size small|base|3b|11b] [--batch 4] [--examples 4] [--part 1] [--prompt 100] [--rounds 2]
"""

import argparse
import datetime
import importlib.metadata
import math
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from _train_candidates import (
    PARTS,
    PT,
    SIZES,
    TRAINER,
    TRAINER_MAX,
    VIP,
    Pass,
    Setting,
    candidates,
    clock_of,
    make_backbone,
)  # fmt: skip
from quantizer import extra_bytes, machine
from vip_train import TASKS, load_backbone
from vip_train.order import Shuffled
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit

TASK_NAMES = ("superglue/cb", "superglue/boolq")


class Cost(NamedTuple):
    seconds: float
    """Of a pass over all examples."""
    positions: int
    """That the encoder reads in a pass, prompt and padding among them."""
    peak: int
    """Bytes."""


# --- data ---


def all_splits(tokenizer: Any, max_length: int) -> tuple[str, dict[str, TokenisedSplit]]:
    """Where the texts come from, and the splits."""
    root = Path(os.environ.get("VIP_DATA_DIR", "/nowhere"))
    root = root / "superglue" if (root / "superglue").is_dir() else root
    if all((root / TASKS[name].folder).is_dir() for name in TASK_NAMES):
        found = {name: TokenisedSplit(TASKS[name].load("train", root), tokenizer, max_length) for name in TASK_NAMES}
        return f"texts of {' and '.join(TASK_NAMES)}, training splits", found
    generator = torch.Generator().manual_seed(0)
    length_N = torch.randn(2000, generator=generator).mul(0.5).add(math.log(150)).exp().long().clamp(8, max_length)
    words = [word for word in tokenizer.get_vocab() if word.isascii() and word.strip("▁").isalpha()]
    pick = torch.randint(len(words), (len(length_N), max_length), generator=generator).tolist()
    texts = [
        tokenizer.convert_tokens_to_string([words[at] for at in row[:length]])
        for row, length in zip(pick, length_N.tolist(), strict=True)
    ]
    split = TokenisedSplit([Example(text, ("yes", "no")[at % 2], "") for at, text in enumerate(texts)], tokenizer, max_length)
    return "VIP_DATA_DIR names no folder with CB and BoolQ: random tokens, lognormal lengths around 150", {"random": split}


def chosen(splits: dict[str, TokenisedSplit], count: int, tokenizer: Any, max_length: int) -> TokenisedSplit:
    """Examples that stand for the lengths of all: equally many of each split, evenly over its sorted lengths."""
    examples: list[Example] = []
    for number, split in enumerate(splits.values()):
        part = (count + number) // len(splits)
        order = split.source_length_N.argsort(stable=True)
        examples += [split.examples[int(order[int((at + 0.5) / part * len(order))])] for at in range(part)]
    return TokenisedSplit(examples, tokenizer, max_length)


# --- measuring ---


def measure(passes: dict[str, Pass], setting: Setting, weights: int) -> dict[str, Cost]:
    """A pass each for memory, in which caches warm up too; then rounds in which the candidates take turns."""
    peak = {
        name: weights + extra_bytes(lambda run=run: run(0), setting.device.type)  # type: ignore[misc]
        for name, run in passes.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    positions: dict[str, list[int]] = {name: [] for name in passes}
    for number in range(1, setting.rounds + 1):
        for name, run in passes.items():
            found = run(number)
            seconds[name].append(found.seconds)
            positions[name].append(found.positions)
            print(f"  round {number} {name}: {found.seconds:.2f} s", flush=True)
    return {
        name: Cost(statistics.median(seconds[name]), round(statistics.mean(positions[name])), peak[name]) for name in passes
    }


def matrix_product(setting: Setting) -> float:
    """FLOP/s of the widest product of a layer, the best of ten."""
    width, feedforward, _, _ = SIZES[setting.size]
    dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
    tokens = 16384 if setting.device.type == "cuda" else 1024
    one = torch.randn(tokens, width, device=setting.device, dtype=dtype)
    other = torch.randn(width, feedforward, device=setting.device, dtype=dtype)
    wait = torch.cuda.synchronize if setting.device.type == "cuda" else (lambda: None)
    clock, best = clock_of(setting.device), math.inf
    for _ in range(10):
        wait()
        started = clock()
        one @ other
        wait()
        best = min(best, clock() - started)
    return 2 * tokens * width * feedforward / best


def padding(splits: dict[str, TokenisedSplit], prompt: int, max_length: int, batch: int = 32) -> None:
    """Encoder positions an example costs over three epochs of the whole splits, by how batches are made; nothing is timed."""
    print(f"\nencoder positions an example, P = {prompt} among them, batch {batch}, whole training splits, three epochs\n")
    ways = {"shuffled": (1, 1), "in 4 parts": (1, 4), "window 16": (16, 1), "in 4 parts ": (16, 4)}
    print("| | " + " | ".join(ways) + f" | all to {max_length} | no padding |\n|---" + "|---" * (len(ways) + 2) + "|")
    for name, split in splits.items():
        length_N, cells = split.source_length_N, []
        for window, parts in ways.values():
            order = Shuffled(split, batch_size=batch, rank=0, world_size=1, seed=0, window=window)
            steps = range(1, 3 * len(split) // batch + 1)
            widths = [float(part.max()) for step in steps for part in length_N[order.rows(step)].view(parts, -1)]
            cells.append(f"{prompt + statistics.mean(widths):.0f}")
        print(f"| {name} | {' | '.join(cells)} | {prompt + max_length} | {prompt + float(length_N.float().mean()):.0f} |")


# --- printing ---


def report(costs: dict[str, Cost], setting: Setting, encoder: int, product: float) -> None:
    print("\n| | examples/s | ms a step | to PT | encoder positions an example | peak MiB | GFLOP/s | of a matrix product |")
    print("|---|---|---|---|---|---|---|---|")
    for name, cost in costs.items():
        rate = 4 * encoder * cost.positions / cost.seconds
        print(
            f"| {name} | {setting.examples / cost.seconds:.3f} | {cost.seconds / setting.steps * 1e3:.0f} "
            f"| {cost.seconds / costs[PT].seconds:.3f} | {cost.positions / setting.examples:.0f} | {cost.peak / 2**20:.0f} "
            f"| {rate / 1e9:.0f} | {rate / product:.0%} |"
        )
    limit = 1.03 if setting.device.type == "cuda" else 1.10
    goals = [(f"VIP at most {limit} x PT a step", costs[VIP].seconds / costs[PT].seconds, limit, False)]
    for ours in (VIP, PARTS):
        for theirs in (TRAINER, TRAINER_MAX):
            faster, share = costs[theirs].seconds / costs[ours].seconds, costs[ours].peak / costs[theirs].peak
            goals.append((f"{ours}: at least 1.5 x the examples/s of {theirs}", faster, 1.5, True))
            goals.append((f"{ours}: at most 0.7 x the memory of {theirs}", share, 0.7, False))
    if setting.size == "11b":
        rate = 4 * encoder * costs[VIP].positions / costs[VIP].seconds
        goals.append(("VIP at least 45 % of a matrix product", rate / product, 0.45, True))
    print("\n| goal | found | |\n|---|---|---|")
    for what, found, bound, least in goals:
        print(f"| {what} | {found:.2f} | {'met' if (found >= bound) == least or found == bound else '**missed**'} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cuda = torch.cuda.is_available()
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--batch", type=int, default=32 if cuda else 4)
    parser.add_argument("--examples", type=int, default=512 if cuda else 4, help="of a pass; divisible by the batch")
    parser.add_argument("--part", type=int, default=8 if cuda else 1, help="rows of a part; divides the batch")
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5 if cuda else 2)
    parser.add_argument("--max-length", type=int, default=480)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16" if cuda else "fp32")
    options = vars(parser.parse_args())
    setting = Setting(**options, device=torch.device("cuda" if cuda else "cpu"))
    if setting.examples % setting.batch or setting.batch % setting.part:
        parser.error(
            f"{setting.examples} examples must be divisible by --batch {setting.batch}, and that by --part {setting.part}"
        )
    transformers.logging.set_verbosity_error()
    tokenizer = load_backbone().tokenizer
    source, splits = all_splits(tokenizer, setting.max_length)
    split = chosen(splits, setting.examples, tokenizer, setting.max_length)
    torch.manual_seed(0)
    backbone = make_backbone(setting, len(tokenizer))
    weights = sum(parameter.numel() * parameter.element_size() for parameter in backbone.parameters())
    embedding = backbone.get_input_embeddings().weight.numel()
    encoder = sum(parameter.numel() for parameter in backbone.get_encoder().parameters()) - embedding
    libraries = ("torch", "transformers", "peft", "accelerate")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    print(f"{versions}, Python {platform.python_version()}, {datetime.date.today()}; {machine(setting.device.type)}")
    print(", ".join(f"{name} {value}" for name, value in options.items()) + f"; {source}")
    lengths = split.source_length_N.sort().values.tolist()
    lengths = lengths[:: max(1, len(lengths) // 32)]
    print(f"{sum(parameter.numel() for parameter in backbone.parameters()):,} parameters; source lengths {lengths}")
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(candidates(backbone, split, tokenizer, setting, Path(folder)), setting, weights)
    report(costs, setting, encoder, matrix_product(setting))
    padding(splits, setting.prompt, setting.max_length)


if __name__ == "__main__":
    main()
