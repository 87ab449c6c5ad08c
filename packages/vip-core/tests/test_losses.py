"""The two terms of the loss against hand-written sums, and their gradients against formula and finite differences."""

import math

import pytest
import torch
from vip_core import commitment_loss, target_nll


def test_commitment_is_the_mean_squared_difference() -> None:
    context_BPD = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    quantized_BPD = torch.tensor([[[0.0, 2.0], [3.0, 1.0]]])
    assert commitment_loss(context_BPD, quantized_BPD).item() == (1 + 0 + 0 + 9) / 4


def test_commitment_gradient_is_its_formula_and_the_finite_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    context_BPD = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    quantized_BPD = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)
    (gradient_BPD,) = torch.autograd.grad(commitment_loss(context_BPD, quantized_BPD), context_BPD)
    torch.testing.assert_close(gradient_BPD, 2 * (context_BPD.detach() - quantized_BPD) / 24, rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(lambda context: commitment_loss(context, quantized_BPD), context_BPD)


def test_commitment_gives_the_codes_no_gradient() -> None:
    context_BPD = torch.ones(1, 1, 2, requires_grad=True)
    quantized_BPD = torch.zeros(1, 1, 2, requires_grad=True)
    commitment_loss(context_BPD, quantized_BPD).backward()
    assert quantized_BPD.grad is None
    assert context_BPD.grad is not None


def test_commitment_of_an_empty_batch_is_zero_with_a_gradient() -> None:
    # A rank without rows still takes part in the backward pass of the others.
    context_BPD = torch.zeros(0, 3, 4, requires_grad=True)
    loss = commitment_loss(context_BPD, torch.zeros(0, 3, 4))
    loss.backward()
    assert loss.item() == 0.0
    assert context_BPD.grad is not None


def test_target_nll_sums_over_the_tokens_that_count() -> None:
    generator = torch.Generator().manual_seed(0)
    logit_BTV = torch.randn(3, 4, 5, generator=generator)
    label_BT = torch.tensor([[1, 2, 0, 4], [3, -100, -100, -100], [-100, -100, -100, -100]])
    expected_B = [0.0, 0.0, 0.0]
    for b in range(3):
        for t in range(4):
            label = int(label_BT[b, t])
            if label != -100:
                total = sum(math.exp(value) for value in logit_BTV[b, t].tolist())
                expected_B[b] -= math.log(math.exp(logit_BTV[b, t, label].item()) / total)
    torch.testing.assert_close(target_nll(logit_BTV, label_BT), torch.tensor(expected_B), rtol=1e-5, atol=1e-6)


def test_target_nll_of_uniform_logits_is_the_entropy_of_the_vocabulary() -> None:
    nll_B = target_nll(torch.zeros(2, 3, 8), torch.tensor([[1, 2, 3], [4, -100, -100]]))
    torch.testing.assert_close(nll_B, torch.tensor([3 * math.log(8), math.log(8)]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_target_nll_is_in_fp32_whatever_the_logits_are(dtype: torch.dtype) -> None:
    logit_BTV = (4 * torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(0))).to(dtype)
    label_BT = torch.tensor([[5, 6, 7], [8, 9, -100]])
    nll_B = target_nll(logit_BTV, label_BT)
    assert nll_B.dtype == torch.float32
    torch.testing.assert_close(nll_B.double(), target_nll(logit_BTV.double(), label_BT).double(), rtol=1e-5, atol=0)


def test_ignored_positions_get_no_gradient() -> None:
    logit_BTV = torch.zeros(1, 2, 3, requires_grad=True)
    target_nll(logit_BTV, torch.tensor([[1, -100]])).sum().backward()
    assert logit_BTV.grad is not None
    torch.testing.assert_close(logit_BTV.grad, torch.tensor([[[1 / 3, -2 / 3, 1 / 3], [0.0, 0.0, 0.0]]]))


@pytest.mark.parametrize(("batch", "target"), [(0, 3), (2, 0)])
def test_target_nll_of_nothing_is_zero(batch: int, target: int) -> None:
    nll_B = target_nll(torch.zeros(batch, target, 5), torch.zeros(batch, target, dtype=torch.int64))
    assert nll_B.tolist() == [0.0] * batch
