"""A tokenised split against tokenising each batch anew."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from vip_core import QuantizerConfig
from vip_train.backbones import Backbone
from vip_train.data import Batch, encode_answers, encode_sources
from vip_train.model import VIPModel
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit

WORDS = ["ba", "milotura", "ke", "lo"]


@pytest.fixture
def examples(texts: list[str]) -> list[Example]:
    return [Example(text, word, "") for text, word in zip(texts, WORDS, strict=True)]


@pytest.mark.parametrize("limit", [10, 480])
@pytest.mark.parametrize("rows", [[0], [2, 0], [3, 1, 1, 0, 2]])
def test_a_batch_is_its_sources_and_targets(
    rows: list[int], limit: int, examples: list[Example], texts: list[str], backbone: Backbone
) -> None:
    batch = TokenisedSplit(examples, backbone.tokenizer, limit).batch(rows)
    sources = encode_sources([texts[row] for row in rows], backbone.tokenizer, limit)
    expected = Batch(
        sources.input_ids, sources.attention_mask, encode_answers([WORDS[row] for row in rows], backbone.tokenizer)
    )
    for found, tensor in zip(batch, expected, strict=True):
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor)
    assert {tensor.device.type for tensor in batch.to(torch.device("meta"))} == {"meta"}


def test_lengths_and_cuts_are_counted(examples: list[Example], texts: list[str], backbone: Backbone) -> None:
    lengths = [len(row) for row in backbone.tokenizer(texts)["input_ids"]]
    found = TokenisedSplit(examples, backbone.tokenizer, lengths[1])
    assert found.whole_length_N.tolist() == lengths
    assert found.source_length_N.tolist() == [min(length, lengths[1]) for length in lengths]
    assert found.target_length_N.tolist() == [len(row) for row in backbone.tokenizer(WORDS)["input_ids"]]
    assert found.truncated == sum(length > lengths[1] for length in lengths) > 0
    assert len(found) == 4


@pytest.mark.parametrize(("name", "most"), [("_AT_ONCE", 3), ("_CHARACTERS_AT_ONCE", 60)])
def test_a_split_larger_than_what_is_tokenised_at_once_is_whole(
    name: str, most: int, examples: list[Example], backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = TokenisedSplit(examples, backbone.tokenizer, 480).batch([0, 1, 2, 3])
    monkeypatch.setattr(f"vip_train.tokenised.{name}", most)
    found = TokenisedSplit(examples, backbone.tokenizer, 480).batch([0, 1, 2, 3])
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_nothing_is_tokenised_after_the_start(examples: list[Example], backbone: Backbone) -> None:
    calls: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(backbone.tokenizer, name)

        def __call__(self, texts: list[str], **values: bool) -> object:
            calls.append(len(texts))
            return backbone.tokenizer(texts, **values)

    found = TokenisedSplit(examples, Counting(), 480)  # type: ignore[arg-type]
    assert calls == [4, 4], "sources and targets, all at once"
    found.batch([0, 1])
    found.batch([2, 3])
    assert len(calls) == 2


@pytest.mark.parametrize("method", ["vip", "vip-c", "pt"])
def test_a_training_step_does_not_depend_on_what_its_rows_are_padded_to(
    method: Any, build: Callable[..., VIPModel], examples: list[Example], backbone: Backbone
) -> None:
    """Rows beside a long one and rows among themselves: the same loss, gradients, draws and codes."""
    batch = TokenisedSplit(examples, backbone.tokenizer, 480).batch([0, 1])

    def wider(tensor: Tensor, value: int) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, 7), value=value)

    padded = Batch(wider(batch.input_ids, 0), wider(batch.attention_mask, 0), wider(batch.labels, -100))
    found = []
    for rows in (batch, padded):
        model = build(method=method, quantizer=QuantizerConfig(codes=7, draws=4, warmup_steps=0)).train()
        torch.manual_seed(4)
        output = model(*rows)
        output.loss.backward()
        gradients = [parameter.grad for parameter in model.prompt.parameters()]
        found.append([output.nll_B, output.prompted.weight_BPK, *gradients, *model.prompt.state_dict().values()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
