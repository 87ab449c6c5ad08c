"""Adapter folders: adapter_config.json, adapter_model.safetensors and a model card. Never a weight of the backbone.

The configuration says how the prompt is built, which backbone it was trained for (with a fingerprint of its weights) and which
task it answers. Loading checks all of it; an unknown field is an error, because guessing would change results in silence.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt

from vip_train.backbones import Backbone, Precision, fingerprint, load_backbone
from vip_train.errors import UserError
from vip_train.files import new_folder
from vip_train.model import VIPModel

FORMAT_VERSION = 1
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "README.md"


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Everything in adapter_config.json."""

    format_version: int
    """Of this file; readers refuse others."""
    vip: VIPConfig
    """How the prompt is built."""
    backbone: str
    """Name the backbone was loaded by."""
    backbone_fingerprint: str
    """See `vip_train.backbones.fingerprint`."""
    dim: int
    """D of the backbone."""
    task: str
    """Registered name of the task it was trained on; empty if none."""
    answers: tuple[str, ...]
    """The fixed answers of that task; empty where the answer is free text."""
    max_source_length: int
    """Source tokens kept in training."""


class Adapter(NamedTuple):
    """A loaded adapter, ready to answer."""

    model: VIPModel
    tokenizer: PreTrainedTokenizerBase
    config: AdapterConfig


def save_adapter(
    model: VIPModel,
    folder: Path,
    *,
    backbone: str,
    task: str = "",
    answers: tuple[str, ...] = (),
    max_source_length: int = 480,
    results: str = "",
) -> None:
    """Writes an adapter folder in one step: a reader sees the old one or the new one, never a part.

    Args:
        model: with the trained prompt.
        folder: where to write; an adapter already there is replaced.
        backbone: the name `load_backbone` was given.
        task: registered name of the task.
        answers: its fixed answers.
        max_source_length: source tokens kept.
        results: a few lines of Markdown for the model card.

    Raises:
        ValueError: a tensor is empty or not finite, so the adapter would be useless.
        UserError: the folder cannot be written or holds something other than an adapter.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.prompt.state_dict().items()}
    for name, tensor in state.items():
        if not tensor.numel() or not torch.isfinite(tensor).all():
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} is empty or not finite, the adapter is not written")
    config = AdapterConfig(
        format_version=FORMAT_VERSION,
        vip=model.prompt.config,
        backbone=backbone,
        backbone_fingerprint=fingerprint(model.backbone),
        dim=model.prompt.prompt_PD.shape[1],
        task=task,
        answers=answers,
        max_source_length=max_source_length,
    )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG_FILE).is_file():
        raise UserError(f"{folder}: holds files that are no adapter; choose another folder")
    with new_folder(folder, replace=True) as temporary:
        save_file(state, temporary / WEIGHTS_FILE)
        (temporary / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
        (temporary / CARD_FILE).write_text(_card(config, state, results), encoding="utf-8")


def _card(config: AdapterConfig, state: dict[str, Tensor], results: str) -> str:
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    return f"""---
library_name: vip
base_model: {config.backbone}
tags: [vip, soft-prompt, t5]
---
# VIP adapter{f" for {config.task}" if config.task else ""}

{config.vip.prompt_length} soft prompt tokens (method `{config.vip.method}`) for the frozen backbone `{config.backbone}`;
{len(state)} tensors, {size / 1e6:.2f} MB. It holds no weight of the backbone.

{results or "No results were recorded."}

    from vip_train import VIPModel
    model = VIPModel.from_pretrained("this folder")
"""


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Reads and checks adapter_config.json.

    Raises:
        UserError: it is missing, broken, of another format version, or has unknown or missing fields.
    """
    path = folder / CONFIG_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise UserError(f"{path}: holds {type(fields).__name__}, an object was expected")
        if (version := fields.get("format_version")) != FORMAT_VERSION:
            raise UserError(f"{path}: format_version={version!r}, this release reads {FORMAT_VERSION}")
        vip = dict(fields["vip"])
        vip["contextualizer"] = ContextualizerConfig(**vip["contextualizer"])
        vip["quantizer"] = QuantizerConfig(**vip["quantizer"])
        return AdapterConfig(**{**fields, "vip": VIPConfig(**vip), "answers": tuple(fields["answers"])})
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, so {folder} is not an adapter") from error
    except KeyError as error:
        raise UserError(f"{path}: field {error} is missing") from error
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: {str(error).replace('.__init__()', '')}") from error


def load_adapter(
    folder: Path, *, backbone: Backbone | str | None = None, precision: Precision = "fp32", device: torch.device | str = "cpu"
) -> Adapter:
    """Loads an adapter with its backbone, in evaluation mode.

    Args:
        folder: written by `save_adapter`.
        backbone: one already loaded, or another name to load it by (a local copy, say); by default the recorded name.
        precision: dtype of the backbone if it is loaded here; the prompt is always fp32.
        device: where to put both.

    Raises:
        UserError: the folder is not a whole adapter, or the backbone is not the one it was trained for.
    """
    config = read_adapter_config(folder)
    loaded = (
        backbone
        if isinstance(backbone, Backbone)
        else load_backbone(backbone or config.backbone, precision=precision, device=device)
    )
    dim = loaded.model.config.d_model
    if dim != config.dim:
        raise UserError(f"{folder}: was trained for a backbone of width {config.dim}, {loaded.name} has {dim}")
    if (found := fingerprint(loaded.model)) != config.backbone_fingerprint:
        raise UserError(
            f"{folder}: was trained for {config.backbone} ({config.backbone_fingerprint[:19]}), "
            f"the weights of {loaded.name} are others ({found[:19]})"
        )
    prompt = VIPPrompt(config.vip, loaded.model.get_input_embeddings().weight)
    path = folder / WEIGHTS_FILE
    try:
        prompt.load_state_dict(load_file(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except RuntimeError as error:
        raise UserError(f"{path}: does not fit {CONFIG_FILE}: {' '.join(str(error).split())[:300]}") from error
    model = VIPModel(loaded.model, prompt.to(device)).eval()
    return Adapter(model, loaded.tokenizer, config)
