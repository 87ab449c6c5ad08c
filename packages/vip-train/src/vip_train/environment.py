"""What a run was computed with: versions, device, number of processes, command. No names of hosts or users, no variables."""

import importlib.metadata
import json
import platform
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vip_train.world import World

ALWAYS = ("vip-train", "vip-core", "torch", "transformers", "tokenizers", "numpy", "safetensors")


def describe(
    world: World, command: Sequence[str], *, packages: Sequence[str] = (), checkout: Path | None = None
) -> dict[str, Any]:
    """The environment of this process, as plain values.

    Args:
        world: this process among the others.
        command: the flags of the command line; empty if there was none.
        packages: what the run imports besides the packages that every run does.
        checkout: folder whose commit is stated; by default the one this file lies in, if it is a checkout of VIP.
    """
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in (*ALWAYS, *packages)},
        "commit": _commit(checkout or Path(__file__).parents[4]),
        "device": _device(world.device),
        "cuda": torch.version.cuda,
        "processes": world.size,
        "threads": torch.get_num_threads(),
        "command": shlex.join(["vip-train", "train", *_without_folders(command)]) if command else None,
    }


def extend(before: bytes | None, step: int, found: dict[str, Any]) -> bytes:
    """The content of environment.json: one entry for each time a run was started, with the step it went on from.

    An entry whose steps were all taken again goes. What cannot be read is begun anew, as it only informs.
    """
    try:
        entries = [entry for entry in json.loads(before or b"[]") if entry["after_step"] < step]
    except (ValueError, TypeError, KeyError):
        entries = []
    return (json.dumps([*entries, {"after_step": step, **found}], indent=2) + "\n").encode()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """The commit of a checkout of VIP, with "-dirty" if files differ from it."""
    if not (folder / ".git").exists() or not (folder / "packages" / "vip-train").is_dir():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or not its owner's folder
    return done.stdout.strip()


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _without_folders(command: Sequence[str]) -> list[str]:
    """Of --config only the file's name: what it says is in config.yaml, where it lies is nobody's business."""
    found = []
    for before, argument in zip(["", *command], command, strict=False):
        if before == "--config":
            argument = Path(argument).name
        elif argument.startswith("--config="):
            argument = f"--config={Path(argument.partition('=')[2]).name}"
        found.append(argument)
    return found
