"""The command line: finds the command, and turns what went wrong into one line and an exit status."""

import os
import sys
from collections.abc import Sequence

from vip_train.commands import COMMANDS
from vip_train.errors import Stopped, ToldElsewhere, UserError
from vip_train.world import is_first

STOPPED = 75
"""Exit status of a run that a signal stopped after a checkpoint: EX_TEMPFAIL of sysexits.h, "try again later"."""

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and SIGINT's number, as shells have it."""

UNREAD = 141
"""Exit status when nobody reads stdout any more, as in `| head -1`: 128 and SIGPIPE's number, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status.

    0: done. 2: one line on stderr says what is wrong. 75: a signal stopped the run, and the same command continues it.
    130: Ctrl-C. 141: nobody reads stdout any more.
    """
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("vip-train: interrupted", file=sys.stderr)
        status = INTERRUPTED
    except BrokenPipeError:
        status = UNREAD
    return _flush(status)


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        print(_usage(), end="")
        return 0 if given else 2
    if given[0] not in COMMANDS:
        print(f"vip-train: {given[0]} is no command, there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        COMMANDS[given[0]].run(given[1:])
    except ToldElsewhere:
        return 2
    except UserError as error:
        print(f"vip-train: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"vip-train: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except Stopped as error:
        if is_first():
            print(f"vip-train: {error}", file=sys.stderr)
        return STOPPED
    return 0


def _flush(status: int) -> int:
    """Writes what stdout still holds back; returns the exit status, which is another one if that fails."""
    if sys.stdout is None:  # a shell may have closed it
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python tries once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return status or UNREAD
        if not status:
            print(f"vip-train: <stdout>: cannot be written: {error.strerror}", file=sys.stderr)
        return status or 2
    return status


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: vip-train {{{','.join(COMMANDS)}}} [flags]",
            "",
            *lines,
            "",
            "vip-train COMMAND --help lists the flags of a command.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
