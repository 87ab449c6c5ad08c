"""Answers as lines of JSON, to a file or stdout. P prompt tokens, K codes."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from torch import Tensor

from vip_train.errors import UserError
from vip_train.files import new_file

STANDARD = Path("-")
"""Stands for stdin or stdout where a file is named."""

Codes = Literal["main", "weights", "none"]
Write = Callable[[dict[str, Any]], None]

NOT_FINITE = "a likelihood is not finite; a backbone in --precision fp32 may help"

_LEAST = 1e-3
"""Codes of no more weight are left out."""


@contextmanager
def json_lines(output: Path, *, overwrite: bool) -> Iterator[Write]:
    """Yields what writes a record as one line, at once: to stdout, or to a file that appears when it is complete.

    Raises:
        UserError: the file is there and not to be overwritten, or it cannot be written.
        BrokenPipeError: nobody reads stdout any more.
    """
    if output == STANDARD:
        yield lambda record: _write(sys.stdout.buffer, "<stdout>", record)
    else:
        with new_file(output, replace=overwrite) as file:
            yield lambda record: _write(file, str(output), record)


def _write(file: IO[bytes], name: str, record: dict[str, Any]) -> None:
    try:
        file.write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{name}: cannot be written: {error.strerror}") from error


def codes_of(weight_PK: Tensor, how: Codes) -> dict[str, Any]:
    """The entry `codes` of a record: each prompt token's main code, or its codes with their weights; no entry for `none`.

    It is null where no codes are in use: without a codebook, and before the end of its warm-up.
    """
    if how == "none":
        return {}
    if not weight_PK.any():
        return {"codes": None}
    if how == "main":
        return {"codes": weight_PK.argmax(1).tolist()}
    return {
        "codes": [
            {str(code): short(weight) for code, weight in enumerate(weight_K.tolist()) if weight > _LEAST}
            for weight_K in weight_PK
        ]
    }


def short(value: float) -> float:
    """A number with six digits, which is what fp32 knows.

    Raises:
        UserError: it is not finite, so JSON has no word for it.
    """
    if not math.isfinite(value):
        raise UserError(NOT_FINITE)
    return float(f"{value:.6g}")
