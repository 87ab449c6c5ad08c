"""Files of data sets, written by hand."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.errors import UserError
from vip_train.tasks import Task

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes a file below the data folder and returns its path: text as it is, a list as JSON lines, a dict as one document."""

    def write(name: str, content: str | list[Any] | dict[str, Any]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path

    return write


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[..., str]:
    """The one line that says why a split cannot be had."""

    def of(task: Task, split: Any = "train") -> str:
        with pytest.raises(UserError) as caught:
            task.load(split, tmp_path)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    return of
