"""The model card of a pretrained backbone: what it was made from, how long, and how well it does."""

import hashlib
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import T5ForConditionalGeneration

if TYPE_CHECKING:
    from vip_train.pretrain.loop import PretrainConfig

_CARD = """\
---
license: apache-2.0
library_name: transformers
tags: [t5, vip]
---
# A small T5 for VIP

An encoder-decoder of {parameters:,} parameters (T5 v1.1: D={t5.d_model}, {t5.num_heads} heads, V={t5.vocab_size},
{t5.num_layers} encoder and {t5.num_decoder_layers} decoder layers, feed-forward {t5.d_ff}), weights in bf16.
It exists so that VIP can be tried and tested without a network and without a GPU. It is far too small to be useful for
language work of its own.

| | |
|---|---|
| text | `{corpus}`, SHA-256 `{digest}` |
| with it | {config.suite_paragraphs:,} paragraphs in the style of the suite's training domains |
| tokens | {tokens:,} for training, the last 0.5 % of the paragraphs held out |
| vocabulary | {vocabulary} |
| stage 1 | {config.span_steps:,} steps of span corruption (15 %, mean span 3), constant learning rate |
| stage 2 | {config.prefix_steps:,} steps of prefix-LM adaptation (Lester et al., 2021), learning rate falling to zero |
| stage 3 | {config.answer_steps:,} steps of prefix-LM, cloze, lookup, echo and judge, learning rate falling again |
| of these | {config.instruction_share:.0%} are instructions in words on sentences of the suite's training domains and frames |
| step | {config.batch_size} windows of {config.window} tokens, or twice as many instructions |
| optimizer | Adafactor at {config.learning_rate}, gradient norm at most 1 |
| seed | {config.seed} |
| time | {seconds:,.0f} s ({machine}, torch with {threads} threads) |
| last training loss | {training_loss:.3f} nats per token |
| held-out loss, nats per token | stage 1 {held_out_span_loss:.3f}, 2 {held_out_prefix_loss:.3f}, 3 {held_out_answer_loss:.3f} |
{instructions}

The whole curve is in `loss.jsonl`. To make it again:

    {command}
"""


def write_card(
    folder: Path, config: "PretrainConfig", model: T5ForConditionalGeneration, *, tokens: int, last: dict[str, float]
) -> None:
    """Writes README.md into `folder`; `last` holds the losses of the last step. The card of an earlier run is kept below it."""
    flags = {
        "corpus": config.corpus.name,
        "output": config.output.name,
        **({"start": config.start.name} if config.start else {}),
        "span-steps": config.span_steps,
        "prefix-steps": config.prefix_steps,
        "answer-steps": config.answer_steps,
        "instruction-share": config.instruction_share,
        "suite-paragraphs": config.suite_paragraphs,
        "batch-size": config.batch_size,
        "window": config.window,
        "learning-rate": config.learning_rate,
        "seed": config.seed,
        **({"compile": "true"} if config.compile else {}),
    }
    if config.start is None:
        flags |= {"paragraphs-for-vocabulary": config.paragraphs_for_vocabulary}
        flags |= {f"shape.{name.replace('_', '-')}": value for name, value in asdict(config.shape).items()}
    learned = f"Unigram, learned from the first {config.paragraphs_for_vocabulary:,} paragraphs"
    instructions = "| instructions | none |"
    if config.instruction_share:
        instructions = (
            f"| new draws of instructions | loss {last['held_out_instruction_loss']:.3f} nats per token, "
            f"{last['held_out_instructions_right']:.0%} answered without a fault |"
        )
    text = _CARD.format(
        config=config,
        t5=model.config,
        corpus=config.corpus.name,
        digest=hashlib.sha256(config.corpus.read_bytes()).hexdigest(),
        tokens=tokens,
        vocabulary="that of the run before" if config.start else learned,
        parameters=model.num_parameters(),
        machine=f"{platform.system()} {platform.machine()}",
        threads=torch.get_num_threads(),
        instructions=instructions,
        command=" ".join(["vip-train pretrain", *(f"--{name} {value}" for name, value in flags.items())]),
        **last,
    )
    if config.start is not None and (card := config.start / "README.md").is_file():
        text += "\n## The run before\n\n" + card.read_text(encoding="utf-8").split("\n", maxsplit=7)[-1]
    (folder / "README.md").write_text(text, encoding="utf-8")
