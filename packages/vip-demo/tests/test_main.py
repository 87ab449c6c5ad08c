"""The command: one line for what is wrong, and the settings it hands on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from vip_demo import __main__ as command
from vip_demo.__main__ import DemoConfig, main, offered
from vip_demo.adapters import bundled_adapter


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--adapter", "nowhere"], ["nowhere", "is not an adapter", "python packages/vip-train/run.py"]),
        (["--adaptor", "x"], ["--adaptor"]),
        (["--port", "0"], ["port=0", "from 1 to 65535"]),
        (["--port", "many"], ["port"]),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith("vip-demo: ")
    assert line.count("\n") == 1
    for word in words:
        assert word in line


def test_offers_one_adapter_or_all_below_a_folder(make_adapter: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_adapter("pt", folder=tmp_path / "notes-1" / "adapter")
    assert offered(DemoConfig(adapter=str(folder))) == {str(folder): folder}
    assert offered(DemoConfig(adapters=tmp_path)) == {"bundled": bundled_adapter(), "notes-1/adapter": folder}
    assert offered(DemoConfig(adapters=tmp_path / "nowhere")) == {"bundled": bundled_adapter()}


def test_an_adapter_may_lie_on_the_hub(
    make_adapter: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_adapter("pt", folder=tmp_path / "downloaded")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "find_folder", lambda name, needed: {"user/name": folder}[name])
    assert offered(DemoConfig(adapter="user/name")) == {"user/name": folder}


def test_a_run_folder_leads_to_the_adapter_in_it(
    make_adapter: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_adapter("pt", folder=tmp_path / "notes-1" / "adapter")
    assert main(["--adapter", str(tmp_path / "notes-1")]) == 2
    assert f"give {folder}" in capsys.readouterr().err


class Page:
    """Stands in for the page; the real one is opened in test_page.py."""

    def __init__(self, adapters: dict[str, Path], *, taken: bool = False) -> None:
        self.adapters, self.taken, self.blocked = adapters, taken, False

    def launch(self, *, server_name: str, server_port: int, share: bool, **_: object) -> tuple[None, str, str]:
        assert not share
        if self.taken:
            raise OSError("Cannot find empty port in range: 7861-7861")
        return None, f"http://{server_name}:{server_port}/", ""

    def block_thread(self) -> None:
        self.blocked = True


def test_serves_the_adapters_and_says_where(
    vip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages: list[Page] = []
    monkeypatch.setattr(command, "build_app", lambda adapters: pages.append(Page(adapters)) or pages[0])
    assert main(["--adapter", str(vip), "--port", "7861"]) == 0
    assert pages[0].adapters == {vip.as_posix(): vip}
    assert pages[0].blocked
    assert capsys.readouterr().out.startswith("http://127.0.0.1:7861/ ")


def test_a_taken_port_is_one_line(vip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "build_app", lambda adapters: Page(adapters, taken=True))
    assert main(["--adapter", str(vip), "--port", "7861"]) == 2
    assert "port=7861: cannot be opened on 127.0.0.1" in capsys.readouterr().err
