"""Which flags are a command's own, where all others are settings of a training run."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any


def divide(kind: type[Any], arguments: Sequence[str], first: str = "") -> tuple[list[str], list[str]]:
    """The flags of this command and those of the runs.

    Args:
        kind: the command's settings.
        arguments: all that were given.
        first: the flag of the first argument that is no flag's value; without it there is no such argument.
    """
    names = {f"--{field.name}" for field in fields(kind)} | {"--help", "-h"}
    own: list[str] = []
    others: list[str] = []
    at, wants_value = own if first else others, False
    for argument in arguments:
        if argument.startswith("--") or argument == "-h":
            at = own if argument.partition("=")[0] in names else others
            wants_value = "=" not in argument
        elif wants_value or argument.startswith("-"):
            wants_value = False
        else:
            at = own if first else others
            if first and not any(flag.partition("=")[0] == first for flag in own):
                own.append(first)
        at.append(argument)
    return own, others
