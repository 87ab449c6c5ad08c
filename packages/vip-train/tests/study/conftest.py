"""A small study file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a study file of two methods, one task and two seeds; values replace its keys, None takes one out."""

    def study(**values: Any) -> Path:
        plain = {
            "methods": {"PT": {"vip.method": "pt"}, "VIP": {}},
            "tasks": ["superglue/cb"],
            "seeds": [0, 1],
            "baseline": "PT",
        }
        content = {key: value for key, value in (plain | values).items() if value is not None}
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return path

    return study
