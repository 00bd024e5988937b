"""The one thread that knows when which export is due."""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Protocol


class Scheduled(Protocol):
    """An export that the schedule keeps."""

    def step(self, now: float) -> float:
        """Do what is due at ``now``, and return when to come back, both of `time.monotonic`."""

    def begin_last(self) -> bool:
        """Begin the export that the interpreter's exit waits for; False if one is under way."""

    def finish(self, start: float, *, begun: bool) -> None:
        """Wait for the last export as long as an exit that began at ``start`` may."""

    def forked(self) -> None:
        """Become the child's after a fork."""


def seconds_until(deadline: float) -> float:
    """Return how long to wait for a time of `time.monotonic`, as far as locks can wait."""
    return min(max(0, deadline - time.monotonic()), threading.TIMEOUT_MAX)


class Schedule:
    """Has every export begun when it is due, at exit for the last time, and in forked children.

    Its thread runs while there is an export. All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._exports: tuple[Scheduled, ...] = ()  # replaced, never changed
        self._has_hooks = False
        self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    def add(self, export: Scheduled) -> None:
        """Begin to call `export` when it is due."""
        with self._changed:
            if not self._has_hooks:
                self._has_hooks = True
                atexit.register(self._at_exit)
                if hasattr(os, "register_at_fork"):
                    os.register_at_fork(after_in_child=self._after_fork)
            self._start()  # first, as there may be no more threads
            self._exports = (*self._exports, export)
            self._changed.notify()

    def remove(self, export: Scheduled) -> bool:
        """Take `export` off, and say whether it was on."""
        with self._changed:
            if export not in self._exports:
                return False
            self._exports = tuple(other for other in self._exports if other is not export)
            self._changed.notify()
            return True

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._keep, name="nanospan-export", daemon=True)
            thread.start()
            self._thread = thread

    def _keep(self) -> None:
        while True:
            with self._changed:
                exports = self._exports
                if not exports:
                    self._thread = None
                    return
            back = min([export.step(time.monotonic()) for export in exports])
            with self._changed:
                if self._exports is exports:
                    self._changed.wait(seconds_until(back))

    def _at_exit(self) -> None:
        with self._changed:
            exports, self._exports = self._exports, ()
            self._changed.notify()
        start = time.monotonic()
        # All are begun before any is waited for. One that was under way is begun again below.
        begun = [(export, export.begin_last()) for export in exports]
        for export, is_begun in begun:
            export.finish(start, begun=is_begun)

    def _after_fork(self) -> None:
        self._renew()
        for export in self._exports:
            export.forked()
        if self._exports:
            self._start()


schedule = Schedule()
"""That of the process."""
