"""Asks of the operating system to stop, as Slurm and Ctrl-C make them."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """While this context lasts SIGTERM and SIGINT are only noted, for the training loop to act on after its step.

    Launchers pass a signal on that the process has had already, so further ones are noted too and do no more. Outside the main
    thread, where Python allows no handlers, nothing is noted.
    """

    def __init__(self) -> None:
        self.name = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.name = self.name or signal.Signals(number).name

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return bool(self.name)
