"""Show a status line while long-running work is in progress."""

from __future__ import annotations

import sys
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, TypeVar

from nanospan.cli.streams import write_error

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Status:
    """A status line on standard error.

    On a terminal, the line is rewritten in place, and removed when the ``with`` block ends.
    Elsewhere, each status is written on a new line.

    Args:
        at_once: Whether a terminal shows the first status at once, rather than after ``FIRST``
            seconds.
    """

    FIRST = 2.0
    """Seconds before the first status is shown."""

    INTERVAL = 10.0
    """Seconds between two status lines if the output is not a terminal."""

    REFRESH = 0.1
    """Seconds between two updates of the status line on a terminal."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.terminal = sys.stderr.isatty()
        self._first = 0.0 if self.terminal and at_once else self.FIRST

    def __enter__(self) -> None:
        self._begin = time.monotonic()
        self._due = self._begin + self._first

    def __exit__(self, *_exc: object) -> None:
        if self.terminal:
            write_error("\r\x1b[K")

    @property
    def elapsed(self) -> float:
        """The time since the ``with`` block was entered, in seconds."""
        return time.monotonic() - self._begin

    def show(self, text: Callable[[], str]) -> None:
        """Show the result of ``text()`` as the status, if an update is due."""
        now = time.monotonic()
        if now < self._due:
            return
        if self.terminal:
            self._due = now + self.REFRESH
            write_error(f"\r\x1b[K{text()}")
        else:
            self._due = now + self.INTERVAL
            write_error(f"nanospan: {text()}\n")


def run_with_status(doing: str, work: Callable[[], T]) -> T:
    """Call a function that may take a long time, showing a status while it runs.

    The function runs in a daemon thread, so that Ctrl-C takes effect at once: Python handles
    signals only in the main thread, which a native call would block. After Ctrl-C the thread is
    abandoned and does not keep the process alive.

    Args:
        doing: The text to show, such as ``reading FILE``.
        work: The function to call. It must be safe to abandon midway if the process ends.

    Returns:
        The result of ``work``. If ``work`` raises an exception, it is re-raised here.
    """
    future: futures.Future[T] = futures.Future()

    def fulfil() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:  # noqa: BLE001 - future.result() raises it in the caller
            future.set_exception(exc)

    status = Status()
    with status:
        threading.Thread(target=fulfil, name="nanospan-work", daemon=True).start()
        while not futures.wait([future], timeout=Status.REFRESH).done:
            status.show(lambda: f"{doing}, {status.elapsed:.0f} s so far")
    return future.result()
