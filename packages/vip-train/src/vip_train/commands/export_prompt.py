"""`vip-train export`: makes a folder of PEFT's from an adapter of method pt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vip_train.adapter import load_adapter
from vip_train.config import parse
from vip_train.exchange import export_to_peft


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """One adapter to be written for PEFT."""

    adapter: str
    """An adapter of method pt: a folder, or a hub id."""
    output: Path
    """Folder to create."""
    backbone: str | None = None
    """Where its backbone is; by default the name it was trained by."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""


def run(arguments: Sequence[str]) -> None:
    """Makes a PEFT folder from an adapter."""
    config = parse(ExportConfig, arguments, prog="vip-train export", description="Writes an adapter of method pt for PEFT.")
    adapter = load_adapter(config.adapter, backbone=config.backbone, revision=config.revision)
    export_to_peft(adapter, config.output)
    print(f"PEFT folder {config.output}")
