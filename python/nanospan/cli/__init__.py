"""The `nanospan` command.

Exit status: 0 when all went well, 1 when the work failed or something regressed, 2 for wrong
arguments (found before any work starts) and bad input, 130 after Ctrl-C, 143 after `SIGTERM`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanospan.cli import (
    ab,
    alerts,
    changes,
    compare,
    demo,
    export,
    grafana,
    report,
    serve,
    version,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

__all__ = ["main"]

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit status.
    """
    # Streams that were closed before the start are missing, which nothing else has to reckon with.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process
    parser = argparse.ArgumentParser(
        prog="nanospan", description="Performance monitor and PostgreSQL pool manager for Python."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (demo, export, report, compare, changes, ab, alerts, serve, grafana, version):
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    if "run" not in arguments:
        parser.print_help()
        return 0
    # The default action of SIGTERM ends the process on the spot, with servers and folders in place.
    previous = {
        number: signal.signal(number, _unwind)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        status: int = arguments.run(arguments)
    except (KeyboardInterrupt, _Terminated) as exc:
        # The signals stay ignored: all that is left to do is to end.
        terminated = isinstance(exc, _Terminated)
        print(f"nanospan: {'terminated' if terminated else 'interrupted'}", file=sys.stderr)
        return TERMINATED if terminated else INTERRUPTED
    except BaseException:
        _restore(previous)
        raise
    _restore(previous)
    return status


class _Terminated(BaseException):
    """`SIGTERM` came: like Ctrl-C it unwinds the stack, so that everything is cleaned up."""


def _unwind(number: int, _frame: FrameType | None) -> None:
    """Raise the exception of the signal; an impatient second one must not disturb the clean-up."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
