"""The model card of a pretrained backbone: what it was made from, how long, and how well it does."""

import hashlib
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vip_train.pretrain.loop import PretrainConfig

_CARD = """\
---
license: apache-2.0
library_name: transformers
tags: [t5, vip]
---
# A small T5 for VIP

An encoder-decoder of {parameters:,} parameters (T5 v1.1: D={shape.width}, {shape.heads} heads, V={shape.vocabulary},
{shape.encoder_layers} encoder and {shape.decoder_layers} decoder layers, feed-forward {shape.feedforward}), weights in bf16.
It exists so that VIP can be tried and tested without a network and without a GPU. It is far too small to be useful for
language work of its own.

| | |
|---|---|
| text | `{corpus}`, SHA-256 `{digest}`, {tokens:,} training tokens, the last 0.5 % of the paragraphs held out |
| vocabulary | Unigram, {shape.vocabulary} ids, learned from the first {config.paragraphs_for_vocabulary:,} paragraphs |
| stage 1 | {config.span_steps:,} steps of span corruption (15 %, mean span 3), constant learning rate |
| stage 2 | {config.prefix_steps:,} steps of prefix-LM adaptation (Lester et al., 2021), learning rate falling to zero |
| step | {config.batch_size} windows of {config.window} tokens, Adafactor at {config.learning_rate}, gradient norm at most 1 |
| seed | {config.seed} |
| time | {seconds:,.0f} s ({machine}, torch with {threads} threads) |
| last training loss | {training_loss:.3f} nats per token |
| held-out loss | span corruption {held_out_span_loss:.3f}, prefix-LM {held_out_prefix_loss:.3f} nats per token |

The whole curve is in `loss.jsonl`. To make it again:

    {command}
"""


def write_card(folder: Path, config: "PretrainConfig", *, tokens: int, parameters: int, last: dict[str, float]) -> None:
    """Writes README.md into `folder`; `last` holds the losses of the last step."""
    import torch

    command = (
        f"vip-train pretrain --corpus {config.corpus.name} --output {config.output.name} --span-steps {config.span_steps} "
        f"--prefix-steps {config.prefix_steps} --batch-size {config.batch_size} --window {config.window} "
        f"--learning-rate {config.learning_rate} --seed {config.seed}"
    )
    text = _CARD.format(
        config=config,
        shape=config.shape,
        corpus=config.corpus.name,
        digest=hashlib.sha256(config.corpus.read_bytes()).hexdigest(),
        tokens=tokens,
        parameters=parameters,
        machine=f"{platform.system()} {platform.machine()}",
        threads=torch.get_num_threads(),
        command=command,
        **last,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
