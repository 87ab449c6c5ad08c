"""The README's example runs as printed, and its tables of settings are those of the code."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig

PACKAGE = Path(__file__).parent.parent
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
PAPER = VIPConfig.paper()


def test_the_example_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), namespace)

    assert namespace["prompt"].quantizer.codebook.started
    assert re.fullmatch(r"code perplexity \d+\.\d of 40\n", capsys.readouterr().out)
    # What the comment beside the last line says of the file.
    saved = torch.load(tmp_path / "prompt.pt", weights_only=True)
    assert {name.split(".")[0] for name in saved} == {"prompt_PD", "contextualizer", "quantizer"}
    assert all(1000 not in value.shape for value in saved.values())


@pytest.mark.parametrize(
    ("config", "paper"), [(VIPConfig, PAPER), (ContextualizerConfig, PAPER.contextualizer), (QuantizerConfig, PAPER.quantizer)]
)
def test_tables_hold_every_setting_with_its_default_and_the_papers_value(config: Any, paper: Any) -> None:
    section = README.split(f"### `{config.__name__}`\n")[1].split("\n#")[0]
    table = {
        name: (default, other)
        for name, default, other in re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.*?) ?\|", section, re.MULTILINE)
    }
    expected = {}
    for field in dataclasses.fields(config):
        default, other = getattr(config(), field.name), getattr(paper, field.name)
        plain = not dataclasses.is_dataclass(default)
        expected[field.name] = (f"`{default!r}`" if plain else "", f"`{other!r}`" if plain and other != default else "")
    assert table == expected


def test_files_it_points_to_exist() -> None:
    named = set(re.findall(r"`(\w+\.py)`", README))
    assert len(named) >= 6
    assert {path.name for path in (PACKAGE / "src" / "vip_core").glob("*.py")} >= named
