"""Adapter folders: adapter_config.json, adapter_model.safetensors and a model card. Never a weight of the backbone.

The configuration says how the prompt is built, which backbone it was trained for (with a fingerprint of its weights) and which
task it answers. Loading checks all of it; an unknown field is an error, because guessing would change results in silence.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt

from vip_train.backbones import Backbone, Precision, fingerprint, load_backbone
from vip_train.errors import UserError
from vip_train.files import new_folder
from vip_train.hub import find_folder, is_hub_id, upload_folder
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

    def __post_init__(self) -> None:
        for name in ("backbone", "backbone_fingerprint", "task"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}={getattr(self, name)!r} must be text")
        for name in ("dim", "max_source_length"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
        answers: object = self.answers
        if not isinstance(answers, tuple) or not all(isinstance(answer, str) for answer in answers):
            raise ValueError(f"answers={self.answers!r} must be a list of texts")


class Adapter(NamedTuple):
    """A loaded adapter, ready to answer."""

    model: VIPModel
    tokenizer: PreTrainedTokenizerBase
    config: AdapterConfig

    def save_pretrained(self, folder: Path | str, *, results: str = "") -> None:
        """Writes it as it was loaded or imported; see `save_adapter`."""
        save_adapter(self.model, folder, **self._facts(), results=results)

    def push_to_hub(self, repo_id: str, *, results: str = "", **options: Any) -> str:
        """Uploads it; see `push_adapter` for the options. A folder's own card stays with `push_adapter` alone."""
        return self.model.push_to_hub(repo_id, **options, **self._facts(), results=results)

    def _facts(self) -> dict[str, Any]:
        return {name: getattr(self.config, name) for name in ("backbone", "task", "answers", "max_source_length")}


def save_adapter(
    model: VIPModel,
    folder: Path | str,
    *,
    backbone: str,
    task: str = "",
    answers: tuple[str, ...] = (),
    max_source_length: int = 480,
    results: str = "",
    backbone_fingerprint: str = "",
    prompt: dict[str, Tensor] | None = None,
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
        backbone_fingerprint: if it is known already; made from the backbone otherwise, which has to be whole then.
        prompt: the prompt's state, if it is to be another than the model has now.

    Raises:
        ValueError: a tensor is empty or not finite, so the adapter would be useless.
        UserError: the folder cannot be written or holds something other than an adapter.
    """
    folder = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in (prompt or model.prompt.state_dict()).items()}
    for name, tensor in state.items():
        if not tensor.numel() or not torch.isfinite(tensor).all():
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} is empty or not finite, the adapter is not written")
    config = adapter_config(
        model,
        backbone=backbone,
        task=task,
        answers=answers,
        max_source_length=max_source_length,
        backbone_fingerprint=backbone_fingerprint,
    )
    if folder.is_dir() and (names := {path.name for path in folder.iterdir()}):
        if not names <= {CONFIG_FILE, WEIGHTS_FILE, CARD_FILE}:
            raise UserError(f"{folder}: holds files that are no adapter; choose another folder")
        read_adapter_config(folder)  # other libraries use these file names too
    with new_folder(folder, replace=True) as temporary:
        save_file(state, temporary / WEIGHTS_FILE)
        (temporary / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
        (temporary / CARD_FILE).write_text(_card(config, state, results), encoding="utf-8")


def adapter_config(
    model: VIPModel,
    *,
    backbone: str,
    task: str = "",
    answers: tuple[str, ...] = (),
    max_source_length: int = 480,
    backbone_fingerprint: str = "",
) -> AdapterConfig:
    """The configuration of a model, with the fingerprint of its backbone; the arguments are those of `save_adapter`."""
    return AdapterConfig(
        format_version=FORMAT_VERSION,
        vip=model.prompt.config,
        backbone=backbone,
        backbone_fingerprint=backbone_fingerprint or fingerprint(model.backbone),
        dim=model.prompt.prompt_PD.shape[1],
        task=task,
        answers=answers,
        max_source_length=max_source_length,
    )


def push_adapter(
    folder: Path | str,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = "Upload VIP adapter",
    token: str | bool | None = None,
) -> str:
    """Uploads an adapter folder to the Hugging Face hub, its three files and nothing else that may lie there.

    Others load it with the backbone of the recorded name, so that should be `bundled` or a hub id.

    Args:
        folder: written by `save_adapter`.
        repo_id: `user/name`; made if there is none.
        private: whether a repository made here is private; None leaves it to the account's setting.
        revision: branch to commit to, made if there is none; None is the main one.
        commit_message: first line of the commit.
        token: with the right to write; None takes the login of this machine.

    Returns:
        Address of the commit.

    Raises:
        UserError: the folder is no adapter, the token may not write there, or the hub cannot be reached.
    """
    folder = Path(folder)
    read_adapter_config(folder)
    if not (path := folder / WEIGHTS_FILE).is_file():
        raise UserError(f"{path}: no such file")
    files = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)
    return upload_folder(folder, repo_id, files, private=private, revision=revision, commit_message=commit_message, token=token)


def _card(config: AdapterConfig, state: dict[str, Tensor], results: str) -> str:
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    # The hub refuses a card whose base_model is not an id of its own.
    published = is_hub_id(config.backbone) and not Path(config.backbone).exists()
    base = f"base_model: {config.backbone}\n" if published else ""
    return f"""---
library_name: vip
{base}tags: [vip, soft-prompt, t5]
---
# VIP adapter{f" for {config.task}" if config.task else ""}

{config.vip.prompt_length} soft prompt tokens (method `{config.vip.method}`) for the frozen backbone `{config.backbone}`;
{len(state)} tensors, {size / 1e6:.2f} MB. It holds no weight of the backbone.

{results or "No results were recorded."}

    from vip_train import VIPModel
    model = VIPModel.from_pretrained("this folder")  # or its id on the hub
"""


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Reads and checks adapter_config.json.

    Raises:
        UserError: it is missing, broken, of another format version, or has unknown or missing fields.
    """
    path = folder / CONFIG_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise UserError(f"{path}: holds {type(found).__name__}, an object was expected")
        if (version := found.get("format_version")) != FORMAT_VERSION:
            raise UserError(f"{path}: format_version={version!r}, this release reads {FORMAT_VERSION}")
        found = _whole(AdapterConfig, found, "the file")
        vip = _whole(VIPConfig, found["vip"], "vip")
        vip["contextualizer"] = ContextualizerConfig(
            **_whole(ContextualizerConfig, vip["contextualizer"], "vip.contextualizer")
        )
        vip["quantizer"] = QuantizerConfig(**_whole(QuantizerConfig, vip["quantizer"], "vip.quantizer"))
        answers = tuple(found["answers"]) if isinstance(found["answers"], list) else found["answers"]
        return AdapterConfig(**{**found, "vip": VIPConfig(**vip), "answers": answers})
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, so {folder} is not an adapter") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from error


def _whole(kind: type[Any], found: object, where: str) -> dict[str, Any]:
    """The fields of one object of the file: all of `kind` and no others, for a guessed default may not be the writer's."""
    if not isinstance(found, dict):
        raise ValueError(f"{where} is {type(found).__name__}, an object was expected")
    expected = {field.name for field in fields(kind)}
    for what, names in (("lacks", expected - found.keys()), ("has the unknown", found.keys() - expected)):
        if names:
            raise ValueError(f"{where} {what} {', '.join(sorted(names))}")
    return dict(found)


def load_adapter(
    folder: Path | str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    backbone: Backbone | str | None = None,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
) -> Adapter:
    """Loads an adapter with its backbone, in evaluation mode.

    Args:
        folder: written by `save_adapter`, or text that names one on the Hugging Face hub, `user/name`. A folder wins.
        revision: branch, tag or commit on the hub.
        token: of the hub; None takes the login of this machine.
        backbone: one already loaded, or another name to load it by (a local copy, say); by default the recorded name.
        precision: dtype of the backbone if it is loaded here; the prompt is always fp32.
        device: where to put both; one already loaded stays where it is.

    Raises:
        UserError: the folder is not a whole adapter, the backbone is not the one it was trained for, or the name is neither a
            folder nor on the hub, or the hub cannot be reached.
    """
    folder = find_folder(folder, (CONFIG_FILE, WEIGHTS_FILE), revision=revision, token=token)
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
    for name, tensor in prompt.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} is not finite")
    model = VIPModel(loaded.model, prompt.to(loaded.model.device)).eval()
    return Adapter(model, loaded.tokenizer, config)
