"""What goes on, shown to whoever waits for it."""

from __future__ import annotations

import sys
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Status:
    """A line on the standard error output: on a terminal it changes, elsewhere it comes anew.

    It leaves nothing on a terminal when its ``with`` block ends.

    Args:
        at_once: Whether a terminal shows it before the work has lasted `FIRST` seconds.
    """

    FIRST = 2.0
    """Seconds until work that is not over deserves a line."""

    INTERVAL = 10.0
    """Seconds between the lines that stay, in a log."""

    REFRESH = 0.1
    """Seconds between changes of the line on a terminal."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.stream = sys.stderr
        self.terminal = self.stream.isatty()
        self._first = 0.0 if self.terminal and at_once else self.FIRST

    def __enter__(self) -> None:
        self._begin = time.monotonic()
        self._due = self._begin + self._first

    def __exit__(self, *_exc: object) -> None:
        if self.terminal:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begin

    def show(self, text: Callable[[], str]) -> None:
        """Show what `text` returns, unless it was shown just now."""
        now = time.monotonic()
        if now < self._due:
            return
        if self.terminal:
            self._due = now + self.REFRESH
            self.stream.write(f"\r\x1b[K{text()}")
        else:
            self._due = now + self.INTERVAL
            self.stream.write(f"nanospan: {text()}\n")
        self.stream.flush()


def patiently(doing: str, work: Callable[[], T]) -> T:
    """Do what may take long, and show that it goes on.

    The work has a thread of its own, as signals wait for the end of a native call: so Ctrl-C is
    heard at once. The thread is then left to itself; it does not keep the process.

    Args:
        doing: What it is, such as ``reading FILE``.
        work: What to call; it must leave nothing half done if the process ends meanwhile.

    Returns:
        What it returns; what it raises is raised here.
    """
    future: futures.Future[T] = futures.Future()

    def fulfil() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:  # noqa: BLE001 - it is raised by whoever waits
            future.set_exception(exc)

    status = Status()
    with status:
        threading.Thread(target=fulfil, name="nanospan-work", daemon=True).start()
        while not futures.wait([future], timeout=Status.REFRESH).done:
            status.show(lambda: f"{doing}, {status.elapsed:.0f} s so far")
    return future.result()
