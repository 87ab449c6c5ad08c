"""The card of a backbone tells where it came from, and its command makes the same one."""

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from transformers import T5ForConditionalGeneration
from vip_train.config import parse
from vip_train.pretrain.loop import PretrainConfig


def test_it_names_the_text_by_its_hash(tiny_backbone: Path, corpus: Path) -> None:
    card = (tiny_backbone / "README.md").read_text(encoding="utf-8")
    assert f"`text.txt`, SHA-256 `{hashlib.sha256(corpus.read_bytes()).hexdigest()}`" in card


def test_its_losses_are_those_of_the_curve(tiny_backbone: Path) -> None:
    card = (tiny_backbone / "README.md").read_text(encoding="utf-8")
    last = json.loads((tiny_backbone / "loss.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert f"| {last['training_loss']:.3f} nats per token |" in card
    for name in ("span", "prefix", "answer"):
        assert f"{last[f'held_out_{name}_loss']:.3f}" in card, name


def test_it_counts_the_parameters(tiny_backbone: Path) -> None:
    card = (tiny_backbone / "README.md").read_text(encoding="utf-8")
    assert f"{T5ForConditionalGeneration.from_pretrained(tiny_backbone).num_parameters():,} parameters" in card


def test_its_command_has_the_settings_of_the_run(tiny_backbone: Path, pretraining: Callable[..., PretrainConfig]) -> None:
    card = (tiny_backbone / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    vip-train pretrain (.*)$", card, flags=re.MULTILINE)
    found = parse(PretrainConfig, shlex.split(command), prog="vip-train pretrain")
    assert found == pretraining(corpus=Path("text.txt"), output=Path("tiny"))


def test_it_begins_with_metadata_that_a_hub_reads(tiny_backbone: Path) -> None:
    card = (tiny_backbone / "README.md").read_text(encoding="utf-8")
    metadata = card.split("---\n")[1]
    assert "library_name: transformers" in metadata
    assert "license:" in metadata
