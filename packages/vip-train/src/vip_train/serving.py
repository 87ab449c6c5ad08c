"""What the commands that answer with an adapter have in common: which adapter, where it runs, and how fast it was."""

import re
import time
from dataclasses import dataclass

import torch

from vip_train.adapter import CONFIG_FILE, WEIGHTS_FILE, Adapter, AdapterConfig, load_adapter, read_adapter_config
from vip_train.backbones import Precision
from vip_train.hub import find_folder
from vip_train.tasks import Task


@dataclass(frozen=True, kw_only=True)
class LoadingConfig:
    """Which adapter answers, and where."""

    adapter: str
    """A folder, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit of the adapter on the hub."""
    backbone: str | None = None
    """Where its backbone is; by default the name it was trained by."""
    precision: Precision = "auto"
    """Of the backbone: auto is bf16 on a GPU and fp32 on a CPU."""
    device: str = "auto"
    """`cpu`, `cuda` or `cuda:1`; auto is the GPU if there is one."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device={self.device} must be auto, cpu, cuda or cuda with a number, as in cuda:1")
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.device.startswith("cuda") and int(self.device[5:] or 0) >= there:
            raise ValueError(f"device={self.device}: there is no such GPU, {there} were found")

    def read_adapter(self) -> AdapterConfig:
        """What the adapter says of itself; its backbone is not loaded.

        Raises:
            UserError: there is no such adapter.
        """
        return read_adapter_config(find_folder(self.adapter, (CONFIG_FILE, WEIGHTS_FILE), revision=self.revision))

    def load_adapter(self) -> Adapter:
        """The adapter with its backbone.

        Raises:
            UserError: see `load_adapter`.
        """
        best = "cuda" if torch.cuda.is_available() else "cpu"
        return load_adapter(
            self.adapter,
            revision=self.revision,
            backbone=self.backbone,
            precision=self.precision,
            device=best if self.device == "auto" else self.device,
        )


def fixed_answers(task: Task) -> tuple[str, ...]:
    """Those of a task, each once; none where answers are free text."""
    return tuple(dict.fromkeys(task.answers.values()))


def other_answers(adapter: AdapterConfig, task: Task) -> str:
    """A line that says how the answers of a task are not those the adapter was trained for; empty if they are."""
    if fixed_answers(task) == adapter.answers:
        return ""
    trained = f"{adapter.task or 'a task without a name'} ({_listed(adapter.answers)})"
    wanted = f"{task.name or 'the file'} ({_listed(fixed_answers(task))})"
    return f"the answers are those of {wanted}; the adapter was trained for {trained}"


def _listed(answers: tuple[str, ...]) -> str:
    return ", ".join(map(repr, answers)) or "free text"


class Throughput:
    """Counts rows, tokens, and seconds from when it is made."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._rows = self._tokens = 0

    def add(self, rows: int, source_tokens: int) -> None:
        """Counts what was answered."""
        self._rows += rows
        self._tokens += source_tokens

    def __str__(self) -> str:
        # A clock may not have moved for no rows.
        seconds = max(time.monotonic() - self._start, 1e-9)
        return (
            f"{self._rows:,} rows in {seconds:.2f} s, loading not counted: "
            f"{self._rows / seconds:,.1f} rows/s, {self._tokens / seconds:,.0f} source tokens/s"
        )
