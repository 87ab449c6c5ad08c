"""A training step of VIP and PT beside PEFT's prompt tuning, alone and in transformers' Trainer: speed and memory.

All candidates train in this process around one frozen T5 with random weights, on the same examples, with AdamW, gradient
clipping at 1, and the same batch size, precision and prompt length. They take turns; a figure is the median over rounds, and a
round is one pass over all examples. On CPUs with OMP_NUM_THREADS=1 time is what the process computes, so that work beside it
counts little; else it is the wall clock's. Memory is weights plus the most that was held at once in a pass. Rows:

- PT: ours, method `pt`, as `vip-train train` runs it: tokenised once, batches of similar length, the next made ahead,
  backbone dropout off. All ratios are to this row or to the Trainer's.
- VIP: the recommended setting at this P, K = 10·P, past its warm-up. VIP paper: `VIPConfig.paper()`.
- PEFT: PromptTuningConfig(SEQ_2_SEQ_LM), its default of two tables, in a loop of DataLoader(shuffle=True) and
  DataCollatorForSeq2Seq, which pads to the longest of a batch; backbone dropout off.
- PEFT + Trainer: Seq2SeqTrainer with its defaults and the same collator; backbone dropout at T5's default of 0.1.
- PEFT + Trainer, max_length: the same, every source padded to --max-length in advance, as in PEFT's own example
  (examples/conditional_generation/peft_prompt_tuning_seq2seq_with_generate.ipynb).
- PEFT + Trainer, dropout off: the same as PEFT + Trainer but for that; shows what of the difference dropout is.

Texts are those of SuperGLUE CB and BoolQ in VIP_DATA_DIR (or its subfolder superglue), as many of each, cut into tokens by the
bundled vocabulary; without that folder random tokens, of lengths whose logarithm is normal. A pass reads the examples that
divide the sorted lengths evenly.

    nox -s bench -- train_step [--size small|base|3b|11b] [--batch 2] [--examples 4] [--prompt 100] [--rounds 2]
"""

import argparse
import datetime
import importlib.metadata
import math
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from peft import PromptTuningConfig, TaskType, get_peft_model
from quantizer import extra_bytes, machine
from torch.utils.data import DataLoader
from transformers import (
    DataCollatorForSeq2Seq,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    default_data_collator,
)
from vip_core import QuantizerConfig, VIPConfig, VIPPrompt
from vip_train import TASKS, VIPModel, load_backbone
from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.engine import build_engine
from vip_train.loader import Loader
from vip_train.order import Shuffled
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World

# d_model, d_ff, layers, heads of T5 1.1 and its LM-adapted checkpoints
SIZES = {"small": (512, 1024, 8, 6), "base": (768, 2048, 12, 12), "3b": (2048, 5120, 24, 32), "11b": (4096, 10240, 24, 64)}
TASK_NAMES = ("superglue/cb", "superglue/boolq")
PT, VIP, PAPER = "PT", "VIP", "VIP paper"
LOOP, TRAINER = "PEFT", "PEFT + Trainer"
TRAINER_MAX, TRAINER_STILL = f"{TRAINER}, max_length", f"{TRAINER}, dropout off"


@dataclass(frozen=True, kw_only=True)
class Setting:
    size: str
    batch: int
    examples: int
    prompt: int
    rounds: int
    max_length: int
    precision: str
    device: torch.device

    @property
    def steps(self) -> int:
        return self.examples // self.batch


class Cost(NamedTuple):
    seconds: float
    """Of a pass over all examples."""
    positions: int
    """That the encoder reads in a pass, prompt and padding among them."""
    peak: int
    """Bytes."""


class Ran(NamedTuple):
    """One pass over all examples."""

    seconds: float
    positions: int


Row = dict[str, list[int]]
Pass = Callable[[int], Ran]
"""Trains on all examples once; the argument numbers the pass."""


def timed(steps: Callable[[], Iterable[int]], device: torch.device) -> Ran:
    """Of steps that give the encoder positions of each."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    clock = clock_of(device)
    wait()
    started = clock()
    positions = sum(steps())
    wait()
    return Ran(clock() - started, positions)


def clock_of(device: torch.device) -> Callable[[], float]:
    """With one thread on CPUs the time that this process computes, as others may be at work beside it."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


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


# --- candidates ---


def make_backbone(setting: Setting, vocabulary: int) -> T5ForConditionalGeneration:
    width, feedforward, layers, heads = SIZES[setting.size]
    config = T5Config(
        vocab_size=max(32128, vocabulary), d_model=width, d_kv=64, d_ff=feedforward, num_layers=layers, num_heads=heads,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0,
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if setting.precision == "bf16" else torch.float32)
    try:
        with setting.device:
            return T5ForConditionalGeneration(config).requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def our_pass(backbone: T5ForConditionalGeneration, config: VIPConfig, split: TokenisedSplit, setting: Setting) -> Pass:
    """As training.py has it."""
    prompt = VIPPrompt(config, backbone.get_input_embeddings().weight).to(setting.device)
    optimizer = OptimizerConfig(batch_size=setting.batch)
    world = World(rank=0, size=1, device=setting.device)
    model = VIPModel(backbone, prompt)
    engine = build_engine(model, optimizer, EngineConfig(name="torch"), world, deepspeed=False)
    batches = Shuffled(
        split, batch_size=setting.batch, rank=0, world_size=1, seed=0, window=optimizer.length_window
    )  # fmt: skip

    def steps(number: int) -> Iterator[int]:
        model.train()  # the backbone stays in evaluation, but PEFT's candidates have moved it
        first, last = number * setting.steps + 1, (number + 1) * setting.steps
        with Loader(batches.batch, last=last, device=setting.device) as loader:
            for step in range(first, last + 1):
                output = engine.forward(*loader.batch(step).to(setting.device))
                if not math.isfinite(output.loss.item()):
                    raise SystemExit("the loss is not finite")
                engine.step(output.loss)
                yield output.prompted.mask_BL.numel()

    return lambda number: timed(lambda: steps(number), setting.device)


def rows_of(split: TokenisedSplit) -> list[Row]:
    """The same tokens as Trainer and DataLoader take them."""
    found = []
    for row in range(len(split)):
        batch = split.batch([row])
        ids, labels = batch.input_ids[0].tolist(), batch.labels[0].tolist()
        found.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    return found


def padded_rows(rows: list[Row], length: int) -> list[Row]:
    longest = max(len(row["labels"]) for row in rows)
    return [
        {
            "input_ids": row["input_ids"] + [0] * (length - len(row["input_ids"])),
            "attention_mask": row["attention_mask"] + [0] * (length - len(row["input_ids"])),
            "labels": row["labels"] + [-100] * (longest - len(row["labels"])),
        }
        for row in rows
    ]


def peft_model(backbone: T5ForConditionalGeneration, setting: Setting) -> Any:
    config = PromptTuningConfig(task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=setting.prompt)
    return get_peft_model(backbone, config).to(setting.device)


def loop_pass(backbone: T5ForConditionalGeneration, rows: list[Row], collate: Any, setting: Setting) -> Pass:
    model = peft_model(backbone, setting)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.03, weight_decay=0.0)

    def steps(number: int) -> Iterator[int]:
        model.train()
        backbone.eval()
        torch.manual_seed(number)
        for batch in DataLoader(rows, batch_size=setting.batch, shuffle=True, collate_fn=collate):  # type: ignore[arg-type]
            moved = {name: tensor.to(setting.device) for name, tensor in batch.items()}
            loss = model(**moved).loss
            if not math.isfinite(loss.item()):
                raise SystemExit("the loss is not finite")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            yield moved["input_ids"].numel() + setting.batch * setting.prompt

    return lambda number: timed(lambda: steps(number), setting.device)


def set_dropout(backbone: T5ForConditionalGeneration, share: float) -> None:
    for module in backbone.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "dropout", None), float):  # of attention weights
            module.dropout = share


def trainer_pass(
    backbone: T5ForConditionalGeneration, rows: list[Row], collate: Any, setting: Setting, folder: Path, dropout: float = 0.1
) -> Pass:
    """Making the Trainer is not timed."""
    model = peft_model(backbone, setting)

    def run(number: int) -> Ran:
        seen: list[int] = []

        def counted(features: list[Any]) -> Any:
            batch = collate(features)
            seen.append(batch["input_ids"].numel() + setting.batch * setting.prompt)
            return batch

        def steps() -> list[int]:
            trainer.train()
            return seen

        arguments = Seq2SeqTrainingArguments(
            output_dir=str(folder), per_device_train_batch_size=setting.batch, num_train_epochs=1, seed=number,
            report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=setting.device.type == "cpu",
        )  # fmt: skip
        set_dropout(backbone, dropout)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Seq2SeqTrainer(model=model, args=arguments, train_dataset=rows, data_collator=counted)  # type: ignore[arg-type]
            trainer.remove_callback(PrinterCallback)
            return timed(steps, setting.device)

    return run


def candidates(
    backbone: T5ForConditionalGeneration, split: TokenisedSplit, tokenizer: Any, s: Setting, folder: Path
) -> dict[str, Pass]:
    quantizer = QuantizerConfig(codes=10 * s.prompt, warmup_steps=0)
    rows = rows_of(split)
    collate = DataCollatorForSeq2Seq(tokenizer)
    return {
        PT: our_pass(backbone, VIPConfig(prompt_length=s.prompt, method="pt"), split, s),
        VIP: our_pass(backbone, VIPConfig(prompt_length=s.prompt, quantizer=quantizer), split, s),
        PAPER: our_pass(backbone, VIPConfig.paper(prompt_length=s.prompt), split, s),
        LOOP: loop_pass(backbone, rows, collate, s),
        TRAINER: trainer_pass(backbone, rows, collate, s, folder),
        TRAINER_MAX: trainer_pass(backbone, padded_rows(rows, s.max_length), default_data_collator, s, folder),
        TRAINER_STILL: trainer_pass(backbone, rows, collate, s, folder, dropout=0.0),
    }


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
    print(f"\nencoder positions an example, P = {prompt} among them, batch {batch}, whole training splits, three epochs")
    windows = {f"by length, window {window}": window for window in (16, 64)} | {"shuffled": 1}
    print("| | " + " | ".join(windows) + f" | all to {max_length} |\n|---" + "|---" * (len(windows) + 1) + "|")
    for name, split in splits.items():
        cells = []
        for window in windows.values():
            order = Shuffled(split, batch_size=batch, rank=0, world_size=1, seed=0, window=window)
            steps = 3 * len(split) // batch
            longest = [int(split.source_length_N[order.rows(step)].max()) for step in range(1, steps + 1)]
            cells.append(f"{prompt + statistics.mean(longest):.0f}")
        mean = float(split.source_length_N.float().mean())
        print(f"| {name}, mean length {mean:.0f} | {' | '.join(cells)} | {prompt + max_length} |")


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
    goals = [
        (f"VIP at most {limit} x PT a step", costs[VIP].seconds / costs[PT].seconds, limit, False),
        ("VIP at least 1.5 x the examples/s of PEFT + Trainer", costs[TRAINER].seconds / costs[VIP].seconds, 1.5, True),
        ("the same with max_length", costs[TRAINER_MAX].seconds / costs[VIP].seconds, 1.5, True),
        ("VIP at most 0.7 x the memory of PEFT + Trainer", costs[VIP].peak / costs[TRAINER].peak, 0.7, False),
        ("the same with max_length", costs[VIP].peak / costs[TRAINER_MAX].peak, 0.7, False),
    ]
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
    parser.add_argument("--batch", type=int, default=32 if cuda else 2)
    parser.add_argument("--examples", type=int, default=512 if cuda else 4, help="of a pass; divisible by the batch")
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5 if cuda else 2)
    parser.add_argument("--max-length", type=int, default=480)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16" if cuda else "fp32")
    options = vars(parser.parse_args())
    setting = Setting(**options, device=torch.device("cuda" if cuda else "cpu"))
    if setting.examples % setting.batch:
        parser.error(f"--examples {setting.examples} must be divisible by --batch {setting.batch}")
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
