"""The command ``nanospan``.

Exit status: 0 on success, 1 if the work failed or a regression was found, 2 for invalid arguments
(which are detected before any work starts) or bad input, 130 after Ctrl-C, 143 after ``SIGTERM``.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from nanospan.cli import (
    ab,
    alerts,
    changes,
    compare,
    demo,
    export,
    grafana,
    prometheus_config,
    report,
    serve,
    version,
)
from nanospan.cli.streams import ArgumentParser, replace_closed_streams, write_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | int | None

__all__ = ["main"]

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``nanospan``.

    Args:
        argv: The arguments without the program's name; by default ``sys.argv[1:]``.

    Returns:
        The exit status.
    """
    replace_closed_streams()
    parser = ArgumentParser(
        prog="nanospan", description="Performance monitor and PostgreSQL pool manager for Python."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (
        demo,
        export,
        report,
        compare,
        changes,
        ab,
        alerts,
        serve,
        prometheus_config,
        grafana,
        version,
    ):
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    if "run" not in arguments:
        parser.print_help()
        return 0
    # By default SIGTERM ends the process at once, leaving servers and temporary folders behind.
    previous = {
        number: signal.signal(number, _raise_for_signal)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        status: int = arguments.run(arguments)
    except (KeyboardInterrupt, _Terminated) as exc:
        # The signals stay ignored, because the process is about to end anyway.
        terminated = isinstance(exc, _Terminated)
        write_error(f"nanospan: {'terminated' if terminated else 'interrupted'}\n")
        return TERMINATED if terminated else INTERRUPTED
    except BaseException:
        _restore(previous)
        raise
    _restore(previous)
    return status


class _Terminated(BaseException):
    """Raised on ``SIGTERM`` to unwind the stack as Ctrl-C does, so that cleanup code runs."""


def _raise_for_signal(number: int, _frame: FrameType | None) -> None:
    """Raise an exception for a signal; ignore further signals, so that the cleanup can finish."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _restore(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
