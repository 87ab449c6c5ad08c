"""Where prompt and codes start: which vocabulary rows, on what scale, and which vocabularies are refused."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt

SMALL = ContextualizerConfig(width=8, feedforward=16, heads=2)
QUANTIZER = QuantizerConfig(codes=5, draws=3, warmup_steps=0, space="embedding")


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(
    *, dim: int = 6, seed: int = 0, vocabulary: int = 40, quantizer: dict[str, Any] | None = None, **values: Any
) -> VIPPrompt:
    """A small prompt in evaluation."""
    torch.manual_seed(seed)
    settled: dict[str, Any] = {
        "prompt_length": 3,
        "contextualizer": SMALL,
        "quantizer": dataclasses.replace(QUANTIZER, **(quantizer or {})),
    }
    return VIPPrompt(VIPConfig(**(settled | values)), normal(vocabulary, dim, seed=seed)).eval()


def test_first_starts_at_the_first_rows_and_codes_at_the_next() -> None:
    vocabulary_VD = 3 * normal(40, 6, seed=0)
    prompt = build(prompt_start="first", quantizer={"start_norm": 2.0})
    prompt = VIPPrompt(prompt.config, vocabulary_VD)
    assert torch.equal(prompt.prompt_PD, vocabulary_VD[:3])
    assert prompt.quantizer is not None
    expected_KD = 2 * vocabulary_VD[3:8] / vocabulary_VD[3:8].norm(dim=1, keepdim=True)
    torch.testing.assert_close(prompt.quantizer.codebook.code_KD, expected_KD)


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_an_automatic_norm_is_the_mean_norm_of_the_rows(scale: float) -> None:
    vocabulary_VD = scale * normal(40, 6, seed=0)
    prompt = VIPPrompt(build().config, vocabulary_VD)
    assert prompt.quantizer is not None
    mean_norm = vocabulary_VD[3:8].norm(dim=1).mean()
    torch.testing.assert_close(prompt.quantizer.codebook.code_KD.norm(dim=1), mean_norm.expand(5))


def test_rows_start_over_where_the_vocabulary_ends() -> None:
    vocabulary_VD = normal(4, 6, seed=0)
    prompt = VIPPrompt(
        VIPConfig(prompt_length=6, prompt_start="first", contextualizer=SMALL, quantizer=QUANTIZER), vocabulary_VD
    )
    assert torch.equal(prompt.prompt_PD, vocabulary_VD[[0, 1, 2, 3, 0, 1]])
    assert prompt.quantizer is not None
    codes_KD = nn.functional.normalize(prompt.quantizer.codebook.code_KD, dim=1)
    torch.testing.assert_close(codes_KD, nn.functional.normalize(vocabulary_VD, dim=1)[[2, 3, 0, 1, 2]])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_codes_in_the_bottleneck_start_where_the_contextualizer_puts_the_rows(norm: Any) -> None:
    vocabulary_VD = 3 * normal(40, 6, seed=0)
    prompt = build(quantizer={"space": "bottleneck"}, contextualizer=dataclasses.replace(SMALL, norm=norm))
    prompt = VIPPrompt(prompt.config, vocabulary_VD)
    assert prompt.quantizer is not None
    assert prompt.contextualizer is not None
    row_KD = vocabulary_VD[3:8]
    if norm == "pre":
        row_KD = nn.functional.layer_norm(row_KD, (6,))
    row_KC = prompt.contextualizer.down(row_KD)
    centred_KC = row_KC - row_KC.mean(1, keepdim=True)
    expected_KC = centred_KC / centred_KC.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(prompt.quantizer.codebook.code_KD, expected_KC, rtol=1e-3, atol=1e-3)
    # The length of a row of C numbers whose mean square is one.
    torch.testing.assert_close(prompt.quantizer.codebook.code_KD.norm(dim=1), torch.full((5,), 8**0.5), rtol=1e-3, atol=1e-3)


def test_sampled_starts_are_rows_that_a_generator_chooses() -> None:
    vocabulary_VD = normal(1000, 6, seed=0)
    config = VIPConfig(prompt_length=8, method="pt")
    first, again, other = (
        VIPPrompt(config, vocabulary_VD, generator=torch.Generator().manual_seed(seed)).prompt_PD for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(vocabulary_VD.eq(row).all(1).any() for row in first)


def test_the_vocabulary_is_neither_changed_nor_shared() -> None:
    vocabulary_VD = nn.Parameter(normal(40, 6, seed=0))
    prompt = VIPPrompt(build(prompt_start="first").config, vocabulary_VD).train()
    with torch.no_grad():
        prompt.prompt_PD.add_(1.0)
    found = prompt(normal(2, 4, 6, seed=1), torch.ones(2, 4))
    (found.embeds_BLD.sum() + found.commitment).backward()
    assert torch.equal(vocabulary_VD, normal(40, 6, seed=0))
    assert vocabulary_VD.grad is None


def test_a_bf16_vocabulary_starts_fp32_parameters() -> None:
    prompt = VIPPrompt(build().config, normal(40, 6, seed=0).bfloat16())
    assert {tensor.dtype for tensor in prompt.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "vocabulary_VD",
    [
        torch.empty(0),
        torch.empty(0, 6),
        torch.zeros(40, 6),
        torch.full((40, 6), float("nan")),
        torch.full((40, 6), float("inf")),
    ],
    ids=["sharded", "empty", "zero", "nan", "inf"],
)
def test_a_vocabulary_to_start_nothing_from_is_refused(vocabulary_VD: Tensor) -> None:
    with pytest.raises(ValueError, match=r"embedding_VD of shape .* root mean square"):
        VIPPrompt(VIPConfig(), vocabulary_VD)
