"""A short run that others are compared with, and something done at one of its steps."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.config import CheckpointConfig, TrainConfig
from vip_train.data import Batch
from vip_train.loader import Loader
from vip_train.training import train

Settings = Callable[..., TrainConfig]
Left = tuple[bytes, list[dict[str, Any]]]
Leavings = Callable[[Path], Left]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has something done when a step begins; nothing again once that step is None."""
    real = Loader.batch

    def act(step: int | None, what: Callable[[], None] = lambda: None) -> None:
        def batch(self: Loader, now: int) -> Batch:
            if now == step:
                what()
            return real(self, now)

        monkeypatch.setattr(Loader, "batch", batch)

    return act


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> TrainConfig:
    """Nine steps, evaluated every third, saved every second."""
    checkpoint = CheckpointConfig(every=2, keep=2)
    return settings(output=tmp_path / "run", steps=9, evaluate_every=3, checkpoint=checkpoint)


@pytest.fixture
def leavings() -> Leavings:
    """Reads what a run left that another one can have as well: its prompt, and its metrics without their times."""

    def read(folder: Path) -> Left:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        for line in lines:
            del line["seconds"]
        return (folder / "adapter" / "adapter_model.safetensors").read_bytes(), lines

    return read


@pytest.fixture
def whole(config: TrainConfig, leavings: Leavings, tmp_path: Path) -> Left:
    """What the run leaves when nothing happens to it."""
    return leavings(train(dataclasses.replace(config, output=tmp_path / "whole")))
