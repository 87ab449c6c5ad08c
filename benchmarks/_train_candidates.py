"""What train_step.py lets train: our steps, and PEFT's prompt tuning in a loop and in transformers' Trainer."""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PromptTuningConfig, TaskType, get_peft_model
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
from vip_train import VIPModel
from vip_train.accumulation import take
from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.data import Batch
from vip_train.engine import build_engine
from vip_train.loader import Loader
from vip_train.order import Shuffled
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World

# d_model, d_ff, layers, heads of T5 1.1 and its LM-adapted checkpoints
SIZES = {"small": (512, 1024, 8, 6), "base": (768, 2048, 12, 12), "3b": (2048, 5120, 24, 32), "11b": (4096, 10240, 24, 64)}
PT, VIP, PAPER, PARTS = "PT", "VIP", "VIP paper", "VIP, in parts"
LOOP, TRAINER = "PEFT", "PEFT + Trainer"
TRAINER_MAX, TRAINER_STILL = f"{TRAINER}, max_length", f"{TRAINER}, dropout off"


@dataclass(frozen=True, kw_only=True)
class Setting:
    size: str
    batch: int
    part: int
    examples: int
    prompt: int
    rounds: int
    max_length: int
    precision: str
    device: torch.device

    @property
    def steps(self) -> int:
        return self.examples // self.batch


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


def our_pass(
    backbone: T5ForConditionalGeneration, config: VIPConfig, split: TokenisedSplit, setting: Setting, part: int
) -> Pass:
    """As training.py has it."""
    prompt = VIPPrompt(config, backbone.get_input_embeddings().weight).to(setting.device)
    optimizer = OptimizerConfig(batch_size=setting.batch)
    world = World(rank=0, size=1, device=setting.device)
    model = VIPModel(backbone, prompt)
    engine = build_engine(model, optimizer, EngineConfig(name="torch"), world, deepspeed=False)
    batches = Shuffled(split, batch_size=setting.batch, rank=0, world_size=1, seed=0, window=optimizer.length_window)

    def positions(batch: Batch) -> int:
        return sum(rows.input_ids.numel() + len(rows.input_ids) * setting.prompt for rows in batch.parts(part))

    def steps(number: int) -> Iterator[int]:
        model.train()  # the backbone stays in evaluation, but PEFT's candidates have moved it
        first, last = number * setting.steps + 1, (number + 1) * setting.steps
        with Loader(batches.batch, last=last, device=setting.device) as loader:
            for step in range(first, last + 1):
                batch = loader.batch(step)
                taken = take(engine, batch, setting.device, micro_batch_size=part)
                if not math.isfinite(taken.nll_B.mean().item()):
                    raise SystemExit("the loss is not finite")
                engine.step(taken.loss)
                yield positions(batch)

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
    recommended = VIPConfig(prompt_length=s.prompt, quantizer=quantizer)
    return {
        PT: our_pass(backbone, VIPConfig(prompt_length=s.prompt, method="pt"), split, s, s.batch),
        VIP: our_pass(backbone, recommended, split, s, s.batch),
        PAPER: our_pass(backbone, VIPConfig.paper(prompt_length=s.prompt), split, s, s.batch),
        PARTS: our_pass(backbone, recommended, split, s, s.part),
        LOOP: loop_pass(backbone, rows, collate, s),
        TRAINER: trainer_pass(backbone, rows, collate, s, folder),
        TRAINER_MAX: trainer_pass(backbone, padded_rows(rows, s.max_length), default_data_collator, s, folder),
        TRAINER_STILL: trainer_pass(backbone, rows, collate, s, folder, dropout=0.0),
    }
