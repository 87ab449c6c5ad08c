"""The command: `vip-demo` or `python -m vip_demo`."""

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vip_train import UserError
from vip_train.adapter import CONFIG_FILE, WEIGHTS_FILE, read_adapter_config
from vip_train.config import parse
from vip_train.hub import find_folder, is_hub_id

from vip_demo.adapters import BUNDLED, bundled_adapter, find_adapters
from vip_demo.app import build_app, launch

_TRAIN_ONE = "train one with `python packages/vip-train/run.py`"


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Which adapters the page offers, and where it is served."""

    adapter: str | None = None
    """The one adapter to show: a folder, such as runs/forms-1/adapter, or an id of the hub, user/name."""
    adapters: Path = Path("runs")
    """Folder under which all adapters are offered, after the bundled one; not read when `adapter` is given."""
    port: int = 7860
    """Port of the page."""
    host: str = "127.0.0.1"
    """Address to listen on; the default is reached from this machine alone."""

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port={self.port} must be from 1 to 65535")


def offered(config: DemoConfig) -> dict[str, Path]:
    """The adapters to offer, by name.

    Raises:
        UserError: the one that is named is none, or cannot be had from the hub.
    """
    if config.adapter is None:
        return {BUNDLED: bundled_adapter()} | find_adapters(config.adapters)
    folder = Path(config.adapter)
    if is_hub_id(config.adapter) and not folder.exists():
        folder = find_folder(config.adapter, (CONFIG_FILE, WEIGHTS_FILE))
    try:
        read_adapter_config(folder)
    except UserError as error:
        inside = {name: path for name, path in find_adapters(folder).items() if path != folder}
        other = f"give {folder / next(iter(inside))}" if inside else _TRAIN_ONE
        raise UserError(f"{error}; {other}") from error
    return {config.adapter: folder}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page; returns the exit status: 0, or 2 after one line on stderr saying what is wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Gradio sums up its own statistics after every request, which nobody reads here.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000")
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    try:
        config = parse(DemoConfig, given, prog="vip-demo", description="Shows which codes each input selects.")
        page = build_app(offered(config))
        print(f"{launch(page, host=config.host, port=config.port)}  (Ctrl-C ends it)", flush=True)
        page.block_thread()
    except UserError as error:
        print(f"vip-demo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
