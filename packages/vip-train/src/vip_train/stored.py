"""Examples on the disk in place of main memory."""

import copy
import json
from array import array
from collections.abc import Iterable, Sequence
from typing import overload

from vip_train.scratch import Scratch
from vip_train.tasks.task import Example


class StoredExamples(Sequence[Example]):
    """Examples that have a source and a target alone; in memory each takes 24 bytes.

    They are read from the file when they are asked for, not mapped: a pass over all takes the memory of one.
    """

    def __init__(self) -> None:
        self._scratch = Scratch()
        self._starts, self._sizes = array("q"), array("q")  # in the file, in bytes
        self._lines = array("q")

    def append(self, source: str, target: str, line: int) -> None:
        """Adds one, with the line it was read from.

        Raises:
            UserError: the disk is full.
        """
        content = json.dumps((source, target), ensure_ascii=False).encode()
        self._starts.append(self._scratch.size)
        self._sizes.append(len(content))
        self._lines.append(line)
        self._scratch.append(content)

    def only(self, rows: Iterable[int]) -> "StoredExamples":
        """Some of them, in this order."""
        found = copy.copy(self)
        found._starts, found._sizes, found._lines = array("q"), array("q"), array("q")
        for row in rows:
            found._lines.append(self._lines[row])
            found._starts.append(self._starts[row])
            found._sizes.append(self._sizes[row])
        return found

    def line(self, row: int) -> int:
        """Where an example begins in the user's file."""
        return self._lines[row]

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, row: int) -> Example: ...

    @overload
    def __getitem__(self, row: slice) -> list[Example]: ...

    def __getitem__(self, row: int | slice) -> Example | list[Example]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        source, target = json.loads(self._scratch.read(self._starts[row], self._sizes[row]))
        return Example(source, target, "")
