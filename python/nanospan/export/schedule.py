"""Start periodic exports when they are due, on a single background thread."""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Protocol


class Scheduled(Protocol):
    """The interface of a scheduled export. Times are ``time.monotonic()`` values, in seconds."""

    def step(self, now: float) -> float:
        """Do the work due at ``now``; return the time at which to call this method again."""

    def begin_last(self) -> bool:
        """Start the last export, at interpreter exit; return False if an earlier one still runs."""

    def finish(self, start: float, *, begun: bool) -> None:
        """Wait for the last export to end, at most for its exit timeout, counted from ``start``.

        Args:
            start: The time at which the interpreter began to exit.
            begun: Whether :meth:`begin_last` started the last export; if not, start it here.
        """

    def reset_in_child(self) -> None:
        """Reset the export's state in a forked child."""


def seconds_until(deadline: float) -> float:
    """Return the seconds until a ``time.monotonic()`` deadline, for use as a lock timeout.

    The result is at least 0 and at most ``threading.TIMEOUT_MAX``.
    """
    return min(max(0, deadline - time.monotonic()), threading.TIMEOUT_MAX)


class Schedule:
    """Starts each export when it is due, and one last time when the interpreter exits.

    The schedule's thread runs while there are exports, and is restarted in forked children. All
    methods are thread-safe.
    """

    def __init__(self) -> None:
        self._exports: tuple[Scheduled, ...] = ()  # replaced, never mutated, so loops need no lock
        self._has_hooks = False
        self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    def add(self, export: Scheduled) -> None:
        """Schedule ``export``, starting the thread if it is not running."""
        with self._changed:
            if not self._has_hooks:
                self._has_hooks = True
                atexit.register(self._at_exit)
                os.register_at_fork(after_in_child=self._reset_in_child)
            self._start()  # starting a thread may fail, so do it before adding the export
            self._exports = (*self._exports, export)
            self._changed.notify()

    def remove(self, export: Scheduled) -> bool:
        """Unschedule ``export``; return False if it was not scheduled."""
        with self._changed:
            if export not in self._exports:
                return False
            self._exports = tuple(other for other in self._exports if other is not export)
            self._changed.notify()
            return True

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="nanospan-export", daemon=True)
            thread.start()
            self._thread = thread

    def _work(self) -> None:
        while True:
            with self._changed:
                exports = self._exports
                if not exports:
                    self._thread = None
                    return
            next_step = min([export.step(time.monotonic()) for export in exports])
            with self._changed:
                if self._exports is exports:
                    self._changed.wait(seconds_until(next_step))

    def _at_exit(self) -> None:
        with self._changed:
            exports, self._exports = self._exports, ()
            self._changed.notify()
        start = time.monotonic()
        # Start every last export before waiting for any of them. If an earlier export is still
        # running, finish() waits for it and then starts the last export.
        begun = [(export, export.begin_last()) for export in exports]
        for export, is_begun in begun:
            export.finish(start, begun=is_begun)

    def _reset_in_child(self) -> None:
        self._renew()
        for export in self._exports:
            export.reset_in_child()
        if self._exports:
            self._start()


schedule = Schedule()
"""The schedule that all periodic exports in the process share."""
