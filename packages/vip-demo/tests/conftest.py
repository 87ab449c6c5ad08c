"""A tiny backbone with random weights, and adapters for it that were never trained."""

from collections.abc import Callable
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
