"""Adapter folders are found, loaded once, and share their backbone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from vip_demo.adapters import Shelf, bundled_adapter, find_adapters
from vip_demo.codes import read_trace
from vip_train import UserError


def test_finds_adapters_below_a_folder(tmp_path: Path) -> None:
    for name in ("b-1/adapter", "a-2", ".a-3.x7/adapter", "c"):
        (tmp_path / name).mkdir(parents=True)
        if name != "c":
            (tmp_path / name / "adapter_config.json").write_text("{}")
    assert find_adapters(tmp_path) == {"a-2": tmp_path / "a-2", "b-1/adapter": tmp_path / "b-1" / "adapter"}


def test_finds_the_folder_itself_and_nothing_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert find_adapters(tmp_path) == {".": tmp_path}
    assert find_adapters(tmp_path / "missing") == {}


def test_loads_once_and_shares_the_backbone(vip: Path, make_adapter: Callable[..., Path]) -> None:
    shelf = Shelf({"vip": vip, "pt": make_adapter("pt")})
    assert shelf.names == ("vip", "pt")
    first, other = shelf.adapter("vip"), shelf.adapter("pt")
    assert shelf.adapter("vip") is first
    assert first.model.backbone is other.model.backbone
    assert (first.config.vip.method, other.config.vip.method) == ("vip", "pt")


def test_a_broken_adapter_is_an_error_and_the_others_go_on(vip: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    shelf = Shelf({"broken": tmp_path, "vip": vip})
    with pytest.raises(UserError, match="format_version"):
        shelf.adapter("broken")
    assert shelf.adapter("vip").config.task == "notes"


def test_only_what_is_offered_can_be_asked_for(vip: Path, tmp_path: Path) -> None:
    shelf = Shelf({"vip": vip})
    for name in (str(vip), f"../{vip.name}", "", "google/t5"):
        with pytest.raises(UserError, match="There is no adapter"):
            shelf.adapter(name)


def test_the_bundled_adapter_loads_with_its_log_and_examples() -> None:
    folder = bundled_adapter()
    adapter = Shelf({"bundled": folder}).adapter("bundled")
    assert adapter.config.backbone == "bundled"
    assert read_trace(folder, adapter.config.vip.quantizer.codes) is not None
    assert (folder.parent / "examples.jsonl").is_file()
