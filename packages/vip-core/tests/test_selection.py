"""Sums over drawn codes against the dense products they stand for, and how much memory a step touches."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from vip_core import Quantizer, QuantizerConfig
from vip_core.selection import choose, sum_codes, sum_vectors


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 6),
    codes=st.integers(1, 7),
    draws=st.integers(1, 5),
    dim=st.integers(1, 4),
    how=st.sampled_from(["sample", "argmax", "expected"]),
    seed=st.integers(0, 99),
)
def test_sums_over_draws_are_products_with_their_weights(
    rows: int, codes: int, draws: int, dim: int, how: Any, seed: int
) -> None:
    logit_NK = 3 * normal(rows, codes, seed=seed)
    weight_NK, drawn_NM, _ = choose(logit_NK, how, draws, torch.Generator().manual_seed(seed))
    assert (drawn_NM is None) == (how == "expected")
    code_KD, vector_ND = normal(codes, dim, seed=seed + 1), normal(rows, dim, seed=seed + 2)
    torch.testing.assert_close(sum_codes(weight_NK, drawn_NM, code_KD), weight_NK @ code_KD)
    torch.testing.assert_close(sum_vectors(weight_NK, drawn_NM, vector_ND), weight_NK.T @ vector_ND)


def test_a_code_that_nobody_drew_gets_nothing() -> None:
    drawn_NM = torch.tensor([[3, 1], [3, 3]])
    weight_NK = torch.tensor([[0, 0.5, 0, 0.5, 0], [0, 0, 0, 1, 0]])
    vector_ND = torch.tensor([[2.0], [10.0]])
    assert sum_vectors(weight_NK, drawn_NM, vector_ND).flatten().tolist() == [0.0, 1.0, 0.0, 11.0, 0.0]


def test_weights_count_the_draws() -> None:
    weight_NK, drawn_NM, _ = choose(normal(50, 6, seed=0), "sample", 10, torch.Generator().manual_seed(0))
    assert drawn_NM is not None
    counted_NK = torch.nn.functional.one_hot(drawn_NM, 6).sum(1) / 10
    torch.testing.assert_close(weight_NK, counted_NK)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that an operation made."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // tensor.element_size())
        return found


@pytest.mark.parametrize("temperature", ["auto", 4.0])
def test_a_training_step_makes_nothing_larger_than_vectors_by_codes(temperature: Any) -> None:
    # Neither a row per draw, M·N·K, nor a difference per pair, N·K·D, nor the drawn codes themselves, N·M·D.
    codes, draws, dim = 20, 16, 8
    settings = QuantizerConfig(codes=codes, draws=draws, temperature=temperature, warmup_steps=0, revive_below=0.5)
    quantizer = Quantizer(settings, normal(codes, dim, seed=0)).train()
    context_BPD = normal(5, 6, dim, seed=1).requires_grad_()
    with Largest() as largest:
        found = quantizer(context_BPD)
        (found.vector_BPD.sum() + found.commitment).backward()
    assert largest.numbers == 5 * 6 * codes
