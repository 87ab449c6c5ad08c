"""Finds adapter folders, and loads each one when it is first asked for."""

from collections.abc import Mapping
from pathlib import Path

from vip_train import Adapter, AdapterConfig, Backbone, load_adapter
from vip_train.adapter import CONFIG_FILE, read_adapter_config


def find_adapters(root: Path) -> dict[str, Path]:
    """All adapter folders in and under `root`, by their path below it, sorted. Hidden folders are half-written: not taken."""
    found = (path.parent for path in root.rglob(CONFIG_FILE))
    named = {folder.relative_to(root).as_posix(): folder for folder in found}
    return {
        name: named[name] for name in sorted(named) if name == "." or not any(part.startswith(".") for part in name.split("/"))
    }


class Shelf:
    """Adapters by name. Loaded ones are kept; those that name the same backbone share it in memory.

    Args:
        folders: where each adapter lies.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._adapters: dict[str, Adapter] = {}
        self._backbones: dict[str, Backbone] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """In the order given."""
        return tuple(self._folders)

    def config(self, name: str) -> AdapterConfig:
        """What an adapter's folder says of it, without loading it.

        Raises:
            UserError: the folder is no adapter, or a broken one.
        """
        return read_adapter_config(self._folders[name])

    def adapter(self, name: str) -> Adapter:
        """A loaded adapter.

        Raises:
            UserError: it is broken, or its backbone cannot be loaded or is another one by now.
        """
        if name not in self._adapters:
            wanted = self.config(name).backbone
            adapter = load_adapter(self._folders[name], backbone=self._backbones.get(wanted))
            self._backbones.setdefault(wanted, Backbone(adapter.model.backbone, adapter.tokenizer, wanted))
            self._adapters[name] = adapter
        return self._adapters[name]
