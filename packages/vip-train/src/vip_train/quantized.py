"""A frozen backbone whose linear layers hold 8 or 4 bits a weight.

Nothing that is trained is quantised, nor are the embedding and `lm_head`.
`int8`: whole numbers to 127 with a scale for each output, multiplied in the backbone's dtype, which holds them exactly.
`nf4`: the quantiles of a normal distribution with a scale for every 64 weights, by bitsandbytes; T5's `wo` stays as it is.

N rows, I inputs, O outputs.
"""

import importlib.util
import logging
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, T5ForConditionalGeneration

from vip_train.errors import UserError

QUANTIZED = ("int8", "nf4")
"""The precisions that are made here."""


def check_quantized(precision: str, *, sharded: bool) -> None:
    """Refuses what cannot be had.

    Raises:
        UserError: the backbone is to be sharded, or `nf4` lacks its libraries.
    """
    if sharded:
        raise UserError(
            f"precision={precision}: needs engine.zero_stage 0, 1 or 2; stage 3 spreads weights before they can be quantised"
        )
    for library in ("bitsandbytes", "accelerate") if precision == "nf4" else ():
        if importlib.util.find_spec(library) is None:
            raise UserError(f"precision={precision}: {library} is not installed; pip install 'vip-train[quantized]'")


class _Product(torch.autograd.Function):
    """Keeps 8 bits of a weight for the way back, where autograd would keep what it made of them."""

    @staticmethod
    def forward(ctx: Any, input_NI: Tensor, weight_OI: Tensor, scale_O: Tensor) -> Tensor:
        ctx.save_for_backward(weight_OI, scale_O)
        return nn.functional.linear(input_NI, weight_OI.to(input_NI.dtype)) * scale_O.to(input_NI.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient_NO,), (weight_OI, scale_O) = gradients, ctx.saved_tensors
        return (gradient_NO * scale_O.to(gradient_NO.dtype)) @ weight_OI.to(gradient_NO.dtype), None, None


class Int8Linear(nn.Module):
    """A frozen linear layer without bias, as T5's are, in 8 bits a weight.

    Args:
        weight_OI: to be rounded.
    """

    scale_O: Tensor

    def __init__(self, weight_OI: Tensor) -> None:
        super().__init__()
        scale_O = weight_OI.float().abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        self.weight = nn.Parameter((weight_OI.float() / scale_O[:, None]).round().to(torch.int8), requires_grad=False)
        self.register_buffer("scale_O", scale_O)

    def forward(self, input_NI: Tensor) -> Tensor:
        """[..., I] -> [..., O], in the dtype of the input."""
        product: Tensor = _Product.apply(input_NI, self.weight, self.scale_O)  # type: ignore[no-untyped-call]
        return product


@torch.no_grad()
def quantize_int8_(model: T5ForConditionalGeneration) -> None:
    """Replaces the linear layers of encoder and decoder, one at a time."""
    for stack in (model.get_encoder(), model.get_decoder()):
        for name, module in list(stack.named_modules()):
            if isinstance(module, nn.Linear):
                stack.set_submodule(name, Int8Linear(module.weight))


def nf4_options(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` is given to quantise on the way to a device."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels it could download
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": config, "device_map": {"": device}}


def keep_nf4_(model: T5ForConditionalGeneration) -> None:
    """Has weights stay what they are: on some CPUs bitsandbytes packs and rounds them anew as soon as it evaluates."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
