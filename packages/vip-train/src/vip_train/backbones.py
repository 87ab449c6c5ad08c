"""Loads a frozen encoder-decoder and tells one from another."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase, T5ForConditionalGeneration
from transformers.utils import logging as transformers_logging

from vip_train.errors import UserError
from vip_train.quantized import QUANTIZED, check_quantized, keep_nf4_, nf4_options, quantize_int8_
from vip_train.sharding import sharded_loading, whole

BUNDLED = "bundled"
"""The name of the small T5 that ships inside this package."""

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8", "nf4"]


_SOURCE = "vip_train_source_fingerprint"


class Backbone(NamedTuple):
    """A frozen model with its tokenizer and the name it was asked for by."""

    model: T5ForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    name: str


def backbone_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype a backbone is held in: bf16 on a GPU and fp32 on a CPU unless asked otherwise.

    That of `int8` and `nf4` is what they compute in, and of all that is not quantised.

    Raises:
        UserError: fp16 was asked for.
    """
    if precision == "fp16":
        raise UserError("precision=fp16: T5 overflows in fp16 (transformers#9295); use bf16 or fp32")
    if precision in ("auto", *QUANTIZED):
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]


def backbone_folder(name: str) -> str:
    """Where to load `name` from: the package's own folder for `bundled`, else the name itself."""
    return str(files("vip_train") / "backbone") if name == BUNDLED else name


def load_backbone(
    name: str = BUNDLED,
    *,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
    sharded: dict[str, Any] | None = None,
) -> Backbone:
    """Loads a T5-family encoder-decoder, freezes it and switches its dropout off for good.

    Args:
        name: `bundled`, a folder in transformers' format, or a hub id such as `google/t5-base-lm-adapt`.
        precision: dtype of the weights, see `backbone_dtype` and `vip_train.quantized`.
        device: where to put it.
        sharded: a DeepSpeed configuration with ZeRO stage 3, to spread it over all processes; see `vip_train.sharding`.

    Raises:
        UserError: nothing of that name can be loaded, it is not a T5, fp16 was asked for, or weights cannot be quantised here.
    """
    if precision in QUANTIZED:
        check_quantized(precision, sharded=sharded is not None)
    if not name:
        raise UserError(f"backbone: must be a folder, a hub id or {BUNDLED}, no name is given")
    dtype = backbone_dtype(precision, torch.device(device))
    source = backbone_folder(name)
    if Path(source).is_absolute() and not Path(source).is_dir():
        raise UserError(f"{source}: no such folder for the backbone")
    try:
        kind = AutoConfig.from_pretrained(source).model_type
        if kind != "t5":
            raise UserError(f"{name}: is a {kind} model, a T5 was expected")
        tokenizer = AutoTokenizer.from_pretrained(source)
        with _quiet_transformers(), sharded_loading(sharded):
            loaded: Any = _load(source, dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise UserError(f"{name}: cannot be loaded as a T5 backbone: {_first_line(error)}") from error
    model: T5ForConditionalGeneration
    model, report = loaded
    if report["missing_keys"]:
        raise UserError(f"{name}: lacks the weights {', '.join(sorted(report['missing_keys'])[:3])}; it is not a whole T5")
    if precision in QUANTIZED:
        # No weight of the file is left to tell it by, so it is told by those that are quantised.
        source_fingerprint = fingerprint(model)
        if precision == "int8":
            quantize_int8_(model)
        else:
            with _quiet_transformers():
                model, _ = _load(source, dtype, **nf4_options(dtype, torch.device(device)))
            keep_nf4_(model)
        setattr(model, _SOURCE, source_fingerprint)
    model.requires_grad_(False)
    model.eval()
    if sharded is None and precision != "nf4":
        torch.nn.Module.to(model, device)
    return Backbone(model, tokenizer, name)


def _load(source: str, dtype: torch.dtype, **options: Any) -> Any:
    """The model and what was missing. transformers' own attention is slower and keeps more than torch's (SDPA)."""
    return T5ForConditionalGeneration.from_pretrained(
        source, dtype=dtype, attn_implementation="sdpa", dropout_rate=0.0, output_loading_info=True, **options
    )


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without its progress bar and its table of what did not fit; a refusal says that in one line."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def fingerprint(model: T5ForConditionalGeneration) -> str:
    """SHA-256 over the names, shapes and bf16 values of all weights, as `sha256:...`.

    Rounding to bf16 makes it the same whether the backbone is held in fp32 or bf16; that of a quantised one is of the weights
    it was quantised from. Tied weights count under each name.
    Of a sharded backbone one weight at a time is gathered, so every process has to ask.
    """
    known: str | None = getattr(model, _SOURCE, None)
    if known is not None:
        return known
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict(keep_vars=True).items()):
        with whole([tensor]):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
    return f"sha256:{digest.hexdigest()}"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().to("cpu", torch.bfloat16).contiguous().flatten().view(torch.uint8).numpy().tobytes()
