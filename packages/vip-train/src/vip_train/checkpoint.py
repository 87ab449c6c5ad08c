"""Checkpoints: what a run needs to go on, whole, small and the same whatever number of processes and ZeRO stage wrote it.

A folder `checkpoints/step-00000300` holds

    prompt.safetensors     the prompt's whole state: static tokens, contextualizer, codebook
    optimizer.safetensors  the whole optimizer state, as `<key>/<parameter>`
    best.safetensors       the prompt's whole state at the best evaluation; empty if none is kept
    state.json             how far the run is, its settings, and which backbone and data it is for
    SHA256SUMS             of the four, in the form `sha256sum --check` reads

and no frozen weight. It is written beside its place, synced and renamed, so it is there whole or not at all. No state of random
number generators is in it: every step draws from a seed made of the run's seed, the step and the rank.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vip_train.config import TrainConfig
from vip_train.errors import UserError
from vip_train.files import sync_folder, write_synced

FORMAT_VERSION = 2
PROMPT_FILE = "prompt.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
BEST_FILE = "best.safetensors"
STATE_FILE = "state.json"
SUMS_FILE = "SHA256SUMS"
_FILES = (PROMPT_FILE, OPTIMIZER_FILE, BEST_FILE, STATE_FILE)
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Everything in state.json."""

    format_version: int
    """Of the folder; readers refuse others."""
    step: int
    """Steps taken."""
    examples: int
    """Examples read; with the seed it says which come next."""
    seconds: float
    """Time spent."""
    recent: tuple[float, float, int]
    """Sums of loss and commitment since the last evaluation, and over how many steps."""
    config: dict[str, Any]
    """The resolved settings."""
    backbone_fingerprint: str
    """See `vip_train.backbones.fingerprint`."""
    data_digest: str
    """See `vip_train.data.digest`."""
    processes: int
    """How many processes wrote it; for people, any number may read it."""
    best: dict[str, Any] | None
    """The best evaluation's line of the metrics, if it is kept."""


class Checkpoint(NamedTuple):
    """One checkpoint in memory."""

    prompt: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor]
    state: RunState


def fits(
    config: TrainConfig, backbone_fingerprint: str, data_digest: str, prompt: dict[str, Tensor]
) -> Callable[[Checkpoint], None]:
    """A function that refuses a checkpoint for another backbone or other data, or of other tensors than a run has."""
    shapes = {name: tensor.shape for name, tensor in prompt.items()}

    def check(found: Checkpoint) -> None:
        if found.state.backbone_fingerprint != backbone_fingerprint:
            raise UserError(
                f"backbone={config.backbone}: its weights are not those the run began with "
                f"({found.state.backbone_fingerprint[:19]}, now {backbone_fingerprint[:19]})"
            )
        if found.state.data_digest != data_digest:
            where = f"train_file={config.train_file}" if config.train_file else f"data_dir={config.data_dir}"
            raise UserError(f"{where}: the examples are not those the run began with")
        for state in [found.prompt] if found.state.best is None else [found.prompt, found.best]:
            if {name: tensor.shape for name, tensor in state.items()} != shapes:
                raise UserError("its tensors are not those of this prompt")

    return check


def write_checkpoint(root: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Writes a checkpoint under `root` and removes all but the newest `keep`, and those of later steps: they were refused.

    Raises:
        UserError: a tensor is not finite, or the disk is full or cannot be written; what was there stays.
    """
    for name, tensor in [*checkpoint.prompt.items(), *checkpoint.optimizer.items(), *checkpoint.best.items()]:
        if not torch.isfinite(tensor).all():
            raise UserError(f"{name} is not finite after step {checkpoint.state.step}, no checkpoint is written of that")
    target = root / f"step-{checkpoint.state.step:08d}"
    parts = {
        PROMPT_FILE: save(checkpoint.prompt),
        OPTIMIZER_FILE: save(checkpoint.optimizer),
        BEST_FILE: save(checkpoint.best),
        STATE_FILE: (json.dumps(asdict(checkpoint.state), indent=2) + "\n").encode(),
    }
    parts[SUMS_FILE] = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in parts.items()).encode()
    temporary = None
    try:
        _remove_unfinished(root)
        temporary = Path(tempfile.mkdtemp(prefix=".step-", dir=root))
        temporary.chmod(0o755)
        for name, data in parts.items():
            write_synced(temporary / name, data)
        sync_folder(temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.replace(target)
        sync_folder(root)
    except OSError as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        kept = ", ".join(path.name for path in list_checkpoints(root)) or "none"
        raise UserError(f"{target}: cannot be written: {error.strerror or error}; older checkpoints kept: {kept}") from error
    present = list_checkpoints(root)
    later = [path for path in present if step_of(path) > checkpoint.state.step]
    for path in later + [path for path in present if path not in later][keep:]:
        shutil.rmtree(path)
    return target


def _remove_unfinished(root: Path) -> None:
    for path in root.glob(".step-*"):
        shutil.rmtree(path)


def step_of(folder: Path) -> int:
    """The step in a checkpoint's name."""
    found = _NAME.fullmatch(folder.name)
    assert found is not None
    return int(found[1])


def list_checkpoints(root: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    if not root.is_dir():
        return []
    return sorted((path for path in root.iterdir() if _NAME.fullmatch(path.name)), key=step_of, reverse=True)


def newest_good(root: Path, check: Callable[[Checkpoint], None], complain: Callable[[str], None]) -> list[bytes]:
    """The files of the newest checkpoint that is whole and fits, as `parse` takes them; none if there is no checkpoint at all.

    Args:
        root: the folder of checkpoints.
        check: raises UserError if a checkpoint does not fit the run.
        complain: takes a line about every checkpoint that is passed over.

    Raises:
        UserError: there are checkpoints and none can be used. Starting over in silence could cost days.
    """
    present = list_checkpoints(root)
    for folder in present:
        try:
            parts = read_parts(folder)
            try:
                check(parse(parts))
            except UserError as error:
                raise UserError(f"{folder}: {error}") from error
        except UserError as error:
            complain(f"checkpoint passed over: {error}")
        else:
            return parts
    if present:
        raise UserError(f"{root}: none of its {len(present)} checkpoints can be used; remove the run's folder to start over")
    return []


def read_parts(folder: Path) -> list[bytes]:
    """The files of a checkpoint, each as its checksum says.

    Raises:
        UserError: one is missing, cut short or changed.
    """
    try:
        lines = (folder / SUMS_FILE).read_text(encoding="utf-8").splitlines()
        sums = {name: found for found, _, name in (line.partition("  ") for line in lines)}
        if sums.keys() == set(_FILES) - {BEST_FILE}:
            raise UserError(f"{folder}: has format_version=1, this release reads {FORMAT_VERSION}")
        parts = [(folder / name).read_bytes() for name in _FILES]
    except FileNotFoundError as error:
        raise UserError(f"{folder}: lacks {os.path.basename(error.filename)}") from error  # noqa: PTH119
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder}: cannot be read: {error}") from error
    for name, data in zip(_FILES, parts, strict=True):
        if hashlib.sha256(data).hexdigest() != sums.get(name):
            raise UserError(f"{folder}: {name} is not the file that was written, its checksum differs")
    return parts


def parse(parts: list[bytes]) -> Checkpoint:
    """A checkpoint from its files.

    Raises:
        UserError: they are not of this format.
    """
    prompt, optimizer, best, state = parts
    try:
        found = json.loads(state)
        if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
            version = found.get("format_version") if isinstance(found, dict) else None
            raise UserError(f"format_version={version!r}, this release reads {FORMAT_VERSION}")
        names = {field.name for field in fields(RunState)}
        if found.keys() != names:
            raise UserError(f"{STATE_FILE} differs in the fields {', '.join(sorted(found.keys() ^ names))}")
        nll, commitment, steps = found.pop("recent")
        return Checkpoint(load(prompt), load(optimizer), load(best), RunState(**found, recent=(nll, commitment, steps)))
    except (ValueError, TypeError, SafetensorError) as error:
        raise UserError(f"is not a checkpoint: {error}") from error
