"""Finds adapter folders, and loads each one when it is first asked for."""

import threading
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from vip_train import Adapter, AdapterConfig, Backbone, UserError, load_adapter
from vip_train.adapter import CONFIG_FILE, read_adapter_config

BUNDLED = "bundled"
"""The name of the adapter that ships inside this package."""


def bundled_adapter() -> Path:
    """Folder of the adapter that ships inside this package."""
    return Path(str(files("vip_demo") / "bundled" / "adapter"))


def find_adapters(root: Path) -> dict[str, Path]:
    """All adapter folders in and under `root`, by their path below it, sorted. Hidden folders are half-written: not taken."""
    found = (path.parent for path in root.rglob(CONFIG_FILE))
    named = {folder.relative_to(root).as_posix(): folder for folder in found}
    return {
        name: named[name] for name in sorted(named) if name == "." or not any(part.startswith(".") for part in name.split("/"))
    }


class Shelf:
    """Adapters by name: those that the operator offers, and no others.

    Loaded ones are kept; those that name the same backbone share it in memory.

    Args:
        folders: where each adapter lies.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._adapters: dict[str, Adapter] = {}
        self._backbones: dict[str, Backbone] = {}
        self._loading = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """In the order given."""
        return tuple(self._folders)

    def folder(self, name: str) -> Path:
        """Where an adapter lies.

        Raises:
            UserError: it is not offered.
        """
        if name not in self._folders:
            raise UserError(f"There is no adapter {name!r} here.")
        return self._folders[name]

    def config(self, name: str) -> AdapterConfig:
        """What an adapter's folder says of it, without loading it.

        Raises:
            UserError: it is not offered, or the folder is no adapter, or a broken one.
        """
        return read_adapter_config(self.folder(name))

    def adapter(self, name: str) -> Adapter:
        """A loaded adapter.

        Raises:
            UserError: it is not offered, it is broken, or its backbone cannot be loaded or is another one by now.
        """
        folder = self.folder(name)
        with self._loading:
            if name not in self._adapters:
                wanted = self.config(name).backbone
                adapter = load_adapter(folder, backbone=self._backbones.get(wanted))
                self._backbones.setdefault(wanted, Backbone(adapter.model.backbone, adapter.tokenizer, wanted))
                self._adapters[name] = adapter
            return self._adapters[name]
