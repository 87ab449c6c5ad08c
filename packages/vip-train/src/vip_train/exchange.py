"""Soft prompts from elsewhere and to elsewhere: folders of PEFT's prompt tuning, and the .npy files of google-research.

A soft prompt is P vectors before the text, which is our method `pt`. P prompt tokens, D backbone width.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from vip_core import VIPConfig, VIPPrompt

from vip_train.adapter import CONFIG_FILE, WEIGHTS_FILE, Adapter, adapter_config
from vip_train.backbones import BUNDLED, Backbone, load_backbone
from vip_train.errors import UserError
from vip_train.files import new_folder
from vip_train.hub import find_folder
from vip_train.model import VIPModel

_TENSOR = "prompt_embeddings"


def import_soft_prompt(
    path: Path | str,
    backbone: Backbone | str,
    *,
    task: str = "",
    answers: tuple[str, ...] = (),
    max_source_length: int = 480,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Adapter:
    """Makes an adapter of method `pt` from a published soft prompt.

    Neither format has a fingerprint of the backbone: that it is the one the prompt was trained for is the caller's to know. A
    prompt of PEFT's may have rows for encoder and decoder; PEFT itself reads the encoder's alone, and so it is here.

    Args:
        path: a PEFT folder of type PROMPT_TUNING, text that names one on the Hugging Face hub, or a file of google-research's
            prompt-tuning that ends in `.npy`, [P, D].
        backbone: one already loaded, or the name to load it by.
        task: name of the task it answers, for the record.
        answers: its fixed answers; none writes free text.
        max_source_length: source tokens to keep.
        revision: branch, tag or commit on the hub.
        token: of the hub; None takes the login of this machine.

    Raises:
        UserError: the file or folder is none of these, is broken, holds a pickle, or has another width than the backbone.
    """
    if Path(path).suffix == ".npy":
        source, prompt_PD = Path(path), _read_npy(Path(path))
    else:
        folder = find_folder(path, (CONFIG_FILE, WEIGHTS_FILE), revision=revision, token=token)
        source, prompt_PD = folder / WEIGHTS_FILE, _read_peft(folder)
    if not torch.isfinite(prompt_PD).all():
        raise UserError(f"{source}: the prompt is not finite")
    loaded = backbone if isinstance(backbone, Backbone) else load_backbone(backbone)
    length, dim = prompt_PD.shape
    if dim != (wanted := loaded.model.config.d_model):
        raise UserError(f"{source}: the prompt is {dim} wide, {loaded.name} has {wanted}")
    config = VIPConfig(method="pt", prompt_length=length, prompt_start="first")
    prompt = VIPPrompt(config, loaded.model.get_input_embeddings().weight)
    with torch.no_grad():
        prompt.prompt_PD.copy_(prompt_PD)
    model = VIPModel(loaded.model, prompt.to(loaded.model.device)).eval()
    facts = adapter_config(model, backbone=loaded.name, task=task, answers=answers, max_source_length=max_source_length)
    return Adapter(model, loaded.tokenizer, facts)


def _read_npy(path: Path) -> Tensor:
    """The array of a .npy file, [P, D] fp32."""
    try:
        with path.open("rb") as file:
            # Without this flag a file may hold a pickle, which can run any code when it is read.
            found: Any = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, ValueError, MemoryError) as error:
        raise UserError(f"{path}: is no plain array in numpy's format: {' '.join(str(error).split())}") from error
    if found.ndim != 2 or not found.size or found.dtype.kind != "f":
        raise UserError(f"{path}: holds {found.dtype} of shape {found.shape}, floating-point numbers [P, D] were expected")
    return torch.from_numpy(found.astype(np.float32))


def _read_peft(folder: Path) -> Tensor:
    """The rows of a PEFT folder that the encoder reads, [P, D] fp32."""
    length, parts = _read_peft_config(folder / CONFIG_FILE)
    path = folder / WEIGHTS_FILE
    try:
        state = load_file(path)
    except FileNotFoundError as error:
        pickled = folder / "adapter_model.bin"
        if pickled.is_file():
            raise UserError(
                f"{pickled}: is a pickle, which can run any code when it is read; a recent PEFT saves it as {WEIGHTS_FILE}"
            ) from error
        raise UserError(f"{path}: no such file") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if state.keys() != {_TENSOR}:
        raise UserError(f"{path}: holds {', '.join(sorted(state)) or 'nothing'}, {_TENSOR} alone was expected")
    rows = state[_TENSOR]
    if rows.ndim != 2 or len(rows) != length * parts or not rows.is_floating_point():
        raise UserError(
            f"{path}: {_TENSOR} is {rows.dtype} of shape {tuple(rows.shape)}, but by {CONFIG_FILE} "
            f"num_virtual_tokens={length} for each of {parts} makes {length * parts} rows"
        )
    return rows[:length].float()


def _read_peft_config(path: Path) -> tuple[int, int]:
    """P, and how many times so many rows there are: 2 for encoder and decoder."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, so {path.parent} is no folder of PEFT's") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds {type(found).__name__}, an object was expected")
    for field, wanted in (("peft_type", "PROMPT_TUNING"), ("task_type", "SEQ_2_SEQ_LM")):
        if found.get(field) != wanted:
            raise UserError(f"{path}: {field}={found.get(field)!r}, only {wanted} can be read as a soft prompt of a T5")
    length, parts = found.get("num_virtual_tokens"), found.get("num_transformer_submodules")
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise UserError(f"{path}: num_virtual_tokens={length!r} must be a whole number of at least 1")
    # PEFT takes null for 2 with an encoder-decoder.
    if isinstance(parts, bool) or parts not in (None, 1, 2):
        raise UserError(f"{path}: num_transformer_submodules={parts!r} must be 1, 2 or null")
    return length, parts or 2


def export_to_peft(adapter: Adapter, folder: Path | str) -> None:
    """Writes a folder that PEFT loads: `PeftModel.from_pretrained(backbone, folder)` gives the same logits.

    PEFT puts the prompt before whatever it is given: pad texts on the right, or it stands apart from its text.

    Args:
        adapter: of method `pt`.
        folder: to create.

    Raises:
        UserError: the adapter is of another method, or the folder is in use.
    """
    vip = adapter.config.vip
    if vip.method != "pt":
        raise UserError(
            f"method={vip.method}: only 'pt' can be exported, for PEFT's prompt tuning has neither contextualizer nor codebook"
        )
    config = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "SEQ_2_SEQ_LM",
        # The bundled backbone has no name that others could load it by.
        "base_model_name_or_path": None if adapter.config.backbone == BUNDLED else adapter.config.backbone,
        "inference_mode": True,
        "num_virtual_tokens": vip.prompt_length,
        "num_transformer_submodules": 1,  # the encoder's rows alone: PEFT saves rows for the decoder that it never reads
        "token_dim": adapter.config.dim,
        "prompt_tuning_init": "RANDOM",  # what PEFT starts from before it reads the weights
    }
    with new_folder(Path(folder)) as temporary:
        prompt_PD = adapter.model.prompt.prompt_PD.detach().float().cpu().contiguous()
        save_file({_TENSOR: prompt_PD}, temporary / WEIGHTS_FILE, metadata={"format": "pt"})
        (temporary / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
