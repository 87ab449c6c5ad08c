"""Pretrains a small T5 from a text corpus: vocabulary, span corruption, prefix-LM adaptation, one folder out.

The folder is an ordinary transformers checkpoint (config.json, model.safetensors in bf16, tokenizer files) with a model card
and the loss curve beside it, so that `--backbone FOLDER` treats it exactly like a published T5.
"""

import copy
import json
import random
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration
from transformers.utils import logging as transformers_logging

from vip_train.backbones import load_backbone
from vip_train.engine import check_compiler
from vip_train.errors import UserError
from vip_train.files import new_folder
from vip_train.pretrain.batches import Batches, Stage
from vip_train.pretrain.card import write_card
from vip_train.pretrain.corpus import Corpus, encode_corpus, read_paragraphs
from vip_train.pretrain.instructions import paragraph
from vip_train.pretrain.objectives import Pair, by_length
from vip_train.pretrain.vocabulary import train_vocabulary


@dataclass(frozen=True, kw_only=True)
class ShapeConfig:
    """The size of the T5 v1.1 to train (gated GELU, shared embeddings). The default has 3.7 M parameters, 7.5 MB in bf16."""

    vocabulary: int = 4096
    """V, ids in all."""
    sentinels: int = 32
    """How many span markers the vocabulary holds."""
    width: int = 192
    """D."""
    heads: int = 6
    """Attention heads of width D / heads."""
    feedforward: int = 512
    """Width of the gated feed-forward layers."""
    encoder_layers: int = 4
    """Most of the depth is the encoder's: that is where a prompt acts."""
    decoder_layers: int = 2
    """Enough to write short answers."""

    def __post_init__(self) -> None:
        if self.sentinels < 4:
            raise ValueError(f"sentinels={self.sentinels} must be at least 4, short answers are asked for with one each")
        if self.vocabulary <= self.sentinels:
            raise ValueError(f"sentinels={self.sentinels} must be fewer than vocabulary={self.vocabulary}")
        if self.width % self.heads:
            raise ValueError(f"width={self.width} must be divisible by heads={self.heads}")
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pretraining run."""

    corpus: Path
    """Text file (.txt, .gz, .xz), UTF-8, one paragraph a line."""
    output: Path
    """Folder to create; it must not exist or be empty."""
    shape: ShapeConfig = ShapeConfig()
    """Size of the model."""
    span_steps: int = 4000
    """Steps of span corruption at a constant learning rate."""
    prefix_steps: int = 2500
    """Steps of prefix-LM adaptation after it; over these the learning rate falls linearly to zero."""
    answer_steps: int = 0
    """Steps of short answers (cloze, lookup, echo, judge) among prefix-LM; it falls from half its value to zero again."""
    instruction_share: float = 0.0
    """How many of those steps are instructions in words instead, 0 to 1."""
    suite_paragraphs: int = 0
    """Paragraphs in the style of the suite's training domains, mixed evenly into the corpus."""
    start: Path | None = None
    """A folder made by an earlier run, to go on from with a new optimizer. Its shape and vocabulary are kept."""
    batch_size: int = 32
    """Windows per step."""
    window: int = 144
    """L, raw tokens per window."""
    learning_rate: float = 2e-2
    """Adafactor's step relative to each parameter's size."""
    threads: int = 0
    """Torch threads; 0 leaves torch's own choice."""
    compile: bool = False
    """Kernels of the model's own, made by torch.compile in the first minutes. Needs a C++ compiler."""
    seed: int = 0
    """Seeds initialisation, windows and noise."""
    paragraphs_for_vocabulary: int = 60_000
    """How many paragraphs the vocabulary is learned from."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "paragraphs_for_vocabulary"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.steps < 1:
            raise ValueError("span_steps, prefix_steps and answer_steps are all 0, there is nothing to do")
        for name in ("span_steps", "prefix_steps", "answer_steps", "suite_paragraphs", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if self.window < 8:
            raise ValueError(f"window={self.window} must be at least 8 tokens")
        if not 0 <= self.instruction_share <= 1:
            raise ValueError(f"instruction_share={self.instruction_share} must be between 0 and 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate} must be positive")

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return self.span_steps + self.prefix_steps + self.answer_steps

    def stage(self, step: int) -> tuple[Stage, float]:
        """The stage that step (from 1) belongs to, and the share of the learning rate it runs at."""
        if step <= self.span_steps:
            return "span", 1.0
        if (done := step - self.span_steps) <= self.prefix_steps:
            return "prefix", 1 - (done - 1) / self.prefix_steps
        return "answer", 0.5 * (1 - (done - self.prefix_steps - 1) / self.answer_steps)


def build_model(shape: ShapeConfig) -> T5ForConditionalGeneration:
    """A randomly initialised T5 v1.1 of the given size, without dropout (the corpus is seen about once)."""
    special: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=shape.vocabulary,
            d_model=shape.width,
            d_kv=shape.width // shape.heads,
            num_heads=shape.heads,
            d_ff=shape.feedforward,
            num_layers=shape.encoder_layers,
            num_decoder_layers=shape.decoder_layers,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            **special,
        )
    )


def save_bf16(model: T5ForConditionalGeneration, folder: Path) -> None:
    """Writes the weights in bf16 and leaves the model as it is."""
    rounded: Any = copy.deepcopy(model)
    rounded.to(torch.bfloat16).save_pretrained(folder)


_PARTS = 4
"""Of a batch whose rows differ in length. Instructions have 48 tokens on average, the longest of 64 some 120."""


def _forward(model: T5ForConditionalGeneration, pair: Pair) -> Any:
    """Logits, and the mean cross-entropy per target token, in nats, as `loss`."""
    source_BS = torch.from_numpy(pair.source_BS)
    mask_BS = source_BS != model.config.pad_token_id
    with torch.autocast("cpu", torch.bfloat16):
        return model(input_ids=source_BS, attention_mask=mask_BS, labels=torch.from_numpy(pair.target_BT))


def _loss(model: T5ForConditionalGeneration, pair: Pair) -> torch.Tensor:
    loss: torch.Tensor = _forward(model, pair).loss
    return loss


def _learn(model: T5ForConditionalGeneration, pair: Pair) -> float:
    """Adds a batch's gradient to the model's and returns its loss. Rows of like length are read together, to spare padding."""
    is_padded = bool((pair.source_BS == model.config.pad_token_id).any())
    written = (pair.target_BT != -100).sum()
    whole = 0.0
    for part in by_length(pair, parts=_PARTS if is_padded else 1):
        loss = _loss(model, part) * float((part.target_BT != -100).sum() / written)
        loss.backward()
        whole += loss.item()
    return whole


@torch.no_grad()
def held_out_loss(model: T5ForConditionalGeneration, batches: Batches, stage: Stage, corpus: Corpus, number: int = 16) -> float:
    """Mean loss in nats per target token over the same `number` of held-out batches each time it is called."""
    rng = np.random.default_rng(0)
    return float(np.mean([_loss(model, batches.draw(stage, corpus.held_out, rng)).item() for _ in range(number)]))


@torch.no_grad()
def instruction_loss(model: T5ForConditionalGeneration, batches: Batches, number: int = 16) -> tuple[float, float]:
    """The same for new draws of instructions, from the frames that are trained on, and the share of rows without a fault."""
    rng = np.random.default_rng(0)
    losses, right = [], []
    for _ in range(number):
        pair = batches.instructions(rng)
        found: Any = _forward(model, pair)
        target_BT = torch.from_numpy(pair.target_BT)
        losses.append(found.loss.item())
        right += ((found.logits.argmax(-1) == target_BT) | (target_BT == -100)).all(1).tolist()
    return float(np.mean(losses)), float(np.mean(right))


def _train(
    config: PretrainConfig, model: T5ForConditionalGeneration, batches: Batches, corpus: Corpus, folder: Path
) -> dict[str, float]:
    """Runs all stages, adds a line to loss.jsonl every 100 steps, saves the weights every 500 and returns the last line."""
    optimizer = torch.optim.Adafactor(model.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: config.stage(min(done + 1, config.steps))[1])
    rng = np.random.default_rng(config.seed)
    recent: list[float] = []
    record: dict[str, float] = {}
    started = time.monotonic()
    model.train()
    learner: Any = torch.compile(model, dynamic=True) if config.compile else model
    for step in tqdm(range(1, config.steps + 1), desc="pretrain", unit="step", mininterval=5.0):
        stage, _ = config.stage(step)
        optimizer.zero_grad()
        recent.append(_learn(learner, batches.draw(stage, corpus.training, rng)))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if not np.isfinite(recent[-1]):
            raise UserError(f"the loss is {recent[-1]} at step {step}: lower learning_rate={config.learning_rate}")
        if step % 100 == 0 or step == config.steps:
            record = {"step": step, "training_loss": float(np.mean(recent)), "seconds": round(time.monotonic() - started, 1)}
            recent.clear()
            if step % 500 == 0 or step == config.steps:
                for name in get_args(Stage):
                    record[f"held_out_{name}_loss"] = held_out_loss(model, batches, name, corpus)
                if config.instruction_share:
                    record["held_out_instruction_loss"], record["held_out_instructions_right"] = instruction_loss(
                        model, batches
                    )
                save_bf16(model, folder)
            with (folder / "loss.jsonl").open("a", encoding="utf-8") as curve:
                curve.write(json.dumps({"stage": stage, **record}) + "\n")
    return record


def _mixed(paragraphs: list[str], config: PretrainConfig) -> list[str]:
    """The corpus with the paragraphs in the style of the suite put evenly among its own."""
    source = random.Random(config.seed)
    written = [paragraph(source) for _ in range(config.suite_paragraphs)]
    placed = [(at / len(part), one) for part in (paragraphs, written) for at, one in enumerate(part)]
    return [one for _, one in sorted(placed, key=lambda found: found[0])]


def _start(config: PretrainConfig, paragraphs: list[str]) -> tuple[T5ForConditionalGeneration, PreTrainedTokenizerBase]:
    """A new model with a vocabulary of its own, or those of an earlier run."""
    if config.start is not None:
        earlier = load_backbone(str(config.start))
        return earlier.model.requires_grad_(True), earlier.tokenizer
    learned_from = paragraphs[: config.paragraphs_for_vocabulary]
    tokenizer = train_vocabulary(learned_from, size=config.shape.vocabulary, sentinels=config.shape.sentinels)
    return build_model(config.shape), tokenizer


def pretrain(config: PretrainConfig) -> Path:
    """Makes a backbone from a corpus and returns its folder.

    Nothing is left at `config.output` unless the whole run succeeds.

    Raises:
        UserError: unreadable corpus, too little text, output in use, a loss that is not finite, or no compiler to compile with.
    """
    if config.compile:
        check_compiler("compile")
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    with new_folder(config.output) as folder:
        paragraphs = list(read_paragraphs(config.corpus))
        if len(paragraphs) < 2:
            raise UserError(f"{config.corpus}: holds {len(paragraphs)} paragraphs, at least 2 are needed")
        try:
            paragraphs = _mixed(paragraphs, config)
            model, tokenizer = _start(config, paragraphs)
            corpus = encode_corpus(paragraphs, tokenizer)
            for name, tokens in corpus._asdict().items():
                if len(tokens) < config.window:
                    raise ValueError(f"its {name} part holds {len(tokens)} tokens, fewer than one window={config.window}")
            tokenizer.save_pretrained(folder)
            if config.start is not None and (curve := config.start / "loss.jsonl").is_file():
                shutil.copy(curve, folder)
            transformers_logging.disable_progress_bar()
            share = config.instruction_share
            batches = Batches(tokenizer, batch_size=config.batch_size, window=config.window, instruction_share=share)
            last = _train(config, model, batches, corpus, folder)
        except ValueError as error:
            raise UserError(f"{config.corpus}: {error}") from error
        write_card(folder, config, model, tokens=len(corpus.training), last=last)
    return config.output
