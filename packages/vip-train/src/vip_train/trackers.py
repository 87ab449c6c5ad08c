"""TensorBoard and Weights & Biases, by the trackers of Accelerate. Both write into the run's folder and call nobody.

Only the first process logs. Trackers ask Accelerate's state which process they are in and would have it join the processes
again; it is told that it stands alone instead, and never touches torch.distributed.
"""

import importlib.util
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vip_train.errors import UserError
from vip_train.files import replace_file


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where metrics go besides metrics.jsonl."""

    tensorboard: bool = False
    """Event files in `tensorboard/`. Needs vip-train[tensorboard]."""
    wandb: bool = False
    """Weights & Biases, offline: files in `wandb/` for `wandb sync`. Needs vip-train[wandb]."""
    project: str = "vip"
    """Of Weights & Biases."""
    every: int = 10
    """Steps between the loss and the learning rates of single steps. Evaluations are all logged."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"tracking.every={self.every} must be at least 1")
        if not self.project:
            raise ValueError("tracking.project='' must not be empty")

    @property
    def packages(self) -> tuple[str, ...]:
        """What the trackers in use import."""
        used = [name for name in ("tensorboard", "wandb") if getattr(self, name)]
        return ("accelerate", *used) if used else ()


def check_trackers(config: TrackingConfig) -> None:
    """Makes sure that what is asked for is installed.

    Raises:
        UserError: it is not; the line says what installs it.
    """
    for name in config.packages[1:]:
        for package in (name, "accelerate"):
            if importlib.util.find_spec(package) is None:
                raise UserError(f"tracking.{name}=true: {package} is not installed; pip install 'vip-train[{name}]'")


class Trackers:
    """The trackers of one run. Used by the first process only; without any in use it does nothing.

    Args:
        config: which.
    """

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self._open: list[Any] = []
        self._where = ""

    def open(self, folder: Path, settings: dict[str, Any], step: int) -> None:
        """Begins the logs of a run, or goes on with them after a step.

        TensorBoard drops what an earlier process logged of later steps as it reads. Weights & Biases cannot continue offline:
        each process begins a part of its own in `wandb/`, and all parts have one run id, by which they belong together.

        Raises:
            UserError: they cannot be written.
        """
        if not self._config.packages:
            return
        self._where = str(folder)
        with self._writing():
            from accelerate import PartialState
            from accelerate.utils import patch_environment

            # Shared by all of Accelerate in this process; -1 is "no launcher" to it.
            with patch_environment(local_rank="-1", accelerate_torch_device="cpu"):
                PartialState()
            if self._config.tensorboard:
                from accelerate.tracking import TensorBoardTracker

                self._start(TensorBoardTracker("tensorboard", folder, purge_step=step + 1 if step else 0))
                if not step:
                    self._open[-1].log({"config": _table(settings)}, step=0)
            if self._config.wandb:
                self._start(_wandb_tracker(self._config, folder))
                self._open[-1].store_init_configuration(settings)

    def _start(self, tracker: Any) -> None:
        tracker.start()
        self._open.append(tracker)

    def log(self, step: int, now: dict[str, float], record: dict[str, Any] | None) -> None:
        """Logs what is due after a step.

        Args:
            step: the last one taken.
            now: figures of that very step.
            record: of an evaluation after it, if there was one. Values that are no single number stay out.
        """
        values = dict(now) if step % self._config.every == 0 else {}
        values |= {name: value for name, value in (record or {}).items() if isinstance(value, int | float) and name != "step"}
        if values:
            with self._writing():
                for tracker in self._open:
                    tracker.log(values, step=step)

    def close(self) -> None:
        """Ends the logs, also after an error."""
        while self._open:
            self._open.pop().finish()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._where}: trackers cannot write there: {error.strerror or error}") from error


def _wandb_tracker(config: TrackingConfig, folder: Path) -> Any:
    # Its telemetry looks up a host even offline, unless this is said before it is imported.
    os.environ |= {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
    import wandb
    from accelerate.tracking import WandBTracker

    identity = folder / "wandb" / "run-id.txt"
    if not identity.is_file():
        identity.parent.mkdir(exist_ok=True)
        replace_file(identity, secrets.token_hex(4).encode())
    return WandBTracker(
        config.project,
        mode="offline",
        dir=str(folder),
        id=identity.read_text(encoding="utf-8"),
        name=folder.name,
        # The progress bar, the checkout and the sources are none of its business.
        settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
    )


def _table(settings: dict[str, Any], prefix: str = "") -> str:
    """Settings as a Markdown table."""
    rows = [] if prefix else ["| | |", "|---|---|"]
    for name, value in settings.items():
        nested = isinstance(value, dict)
        rows.append(_table(value, f"{prefix}{name}.") if nested else f"| {prefix}{name} | {value} |")
    return "\n".join(rows)
