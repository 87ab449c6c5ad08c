"""Small prompts and texts for them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt

QUANTIZER = QuantizerConfig(codes=5, draws=3, warmup_steps=0)
CONTEXTUALIZER = ContextualizerConfig(width=8, feedforward=16, heads=2)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def build() -> Callable[..., VIPPrompt]:
    """Makes a small prompt in evaluation; `quantizer` has fields of its settings, other values go to VIPConfig."""

    def prompt(
        *, dim: int = 6, seed: int = 0, vocabulary: int = 40, quantizer: dict[str, Any] | None = None, **values: Any
    ) -> VIPPrompt:
        torch.manual_seed(seed)
        settled: dict[str, Any] = {
            "prompt_length": 3,
            "contextualizer": CONTEXTUALIZER,
            "quantizer": dataclasses.replace(QUANTIZER, **(quantizer or {})),
        }
        return VIPPrompt(VIPConfig(**(settled | values)), normal(vocabulary, dim, seed=seed)).eval()

    return prompt


@pytest.fixture(scope="session")
def text() -> Callable[..., tuple[Tensor, Tensor]]:
    """Makes embedded texts and their mask, of which nothing is padding."""

    def embedded(batch: int = 2, source: int = 4, dim: int = 6, *, seed: int = 1) -> tuple[Tensor, Tensor]:
        return normal(batch, source, dim, seed=seed), torch.ones(batch, source, dtype=torch.int64)

    return embedded
