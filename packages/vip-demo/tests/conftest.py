"""A tiny backbone with random weights, adapters for it that were never trained, and the page served with them."""

import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt, perplexity
from vip_core.config import Method
from vip_demo import Inspection
from vip_train import TASKS, Adapter, Backbone, VIPModel, load_adapter, load_backbone, save_adapter
from vip_train.pretrain.loop import ShapeConfig, build_model

NOTES = TASKS["notes"]
MakeAdapter = Callable[..., Path]
MARKUP = "<img src=nowhere onerror=alert(1)>"
START_LIMIT = 300  # seconds; most of it is importing torch and gradio
MakeInspection = Callable[..., Inspection]


def tokenizer_of_words() -> PreTrainedTokenizerFast:
    """Every word of the notes is a token."""
    splitter = pre_tokenizers.Whitespace()
    words = {word for example in NOTES.load("train", None) for word, _ in splitter.pre_tokenize_str(example.source)}
    vocabulary = ["<pad>", "</s>", "<unk>", *sorted(words | set(NOTES.answers))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp("backbone")
    tokenizer = tokenizer_of_words()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = ShapeConfig(vocabulary=len(tokenizer), width=16, heads=2, feedforward=32, encoder_layers=1, decoder_layers=1)
    build_model(shape).save_pretrained(folder)
    return load_backbone(str(folder))


@pytest.fixture(scope="session")
def make_adapter(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> MakeAdapter:
    """Writes an adapter folder: `make_adapter(method, task=..., answers=..., warmup_steps=...)`."""

    def make(
        method: Method = "vip",
        *,
        folder: Path | None = None,
        task: str = "notes",
        answers: tuple[str, ...] | None = None,
        tokens: int = 6,
        codes: int = 60,
        temperature: float = 4.0,
        warmup_steps: int = 0,
        max_source_length: int = 64,
    ) -> Path:
        torch.manual_seed(1)
        config = VIPConfig(
            method=method,
            prompt_length=tokens,
            contextualizer=ContextualizerConfig(width=8, feedforward=16),
            quantizer=QuantizerConfig(codes=codes, temperature=temperature, warmup_steps=warmup_steps),
        )
        model = VIPModel(backbone.model, VIPPrompt(config, backbone.model.get_input_embeddings().weight))
        target = folder or tmp_path_factory.mktemp("adapter") / method
        known = tuple(dict.fromkeys(NOTES.answers.values())) if answers is None else answers
        save_adapter(model, target, backbone=backbone.name, task=task, answers=known, max_source_length=max_source_length)
        return target

    return make


@pytest.fixture(scope="session")
def vip(make_adapter: MakeAdapter) -> Path:
    return make_adapter()


@pytest.fixture(scope="session")
def adapter(vip: Path, backbone: Backbone) -> Adapter:
    return load_adapter(vip, backbone=backbone)


@pytest.fixture(scope="session")
def make_inspection() -> MakeInspection:
    """Makes an inspection by hand: `make_inspection(weight_PK, answer=...)`. Codes in use are those with weight."""

    def make(weight_PK: torch.Tensor, **changes: object) -> Inspection:
        share_K = weight_PK.sum(0) / max(float(weight_PK.sum()), 1e-9)
        order = [code for code in share_K.argsort(descending=True, stable=True).tolist() if share_K[code] > 0]
        made = Inspection(
            text="red dog",
            answer="red",
            probability={"red": 0.75, "blue": 0.25},
            method="vip",
            how="expected",
            codes=weight_PK.shape[1],
            share_K=share_K,
            code_U=tuple(order),
            weight_PU=weight_PK[:, order],
            perplexity=float(perplexity(share_K)) if order else 0.0,
            words=("red", "dog"),
            attention_PW=torch.tensor([[0.25, 0.75]]).expand(len(weight_PK), -1),
            prompt_PD=torch.ones(len(weight_PK), 4),
        )
        return made._replace(**changes)

    return make


@pytest.fixture(scope="session")
def served(make_adapter: MakeAdapter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the page, served by the command itself in a process of its own."""
    root = tmp_path_factory.mktemp("runs")
    make_adapter("vip", folder=root / "a" / "adapter", tokens=10)
    make_adapter("pt", folder=root / "b" / "adapter")
    (root / "c").mkdir()
    (root / "c" / "adapter_config.json").write_text(json.dumps({"format_version": MARKUP}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Gradio warns of settings that it does not follow: they end the command.
    command = [sys.executable, "-u", "-W", "error::UserWarning", "-m", "vip_demo", "--adapters", str(root), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=lambda: [lines.put(line) for line in chain(process.stdout or (), [None])])
    reader.start()
    try:
        address = f"http://127.0.0.1:{port}"
        said = lines.get(timeout=START_LIMIT)
        while said is not None and address not in said:
            said = lines.get(timeout=START_LIMIT)
        assert said is not None, "the command ended before it served the page"
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)
        reader.join(timeout=30)
        if process.stdout:
            process.stdout.close()
