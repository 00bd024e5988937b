"""The thread that starts each periodic export when it is due."""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Protocol


class Scheduled(Protocol):
    """An export that the schedule drives. Times are those of ``time.monotonic``."""

    def step(self, now: float) -> float:
        """Do what is due at ``now``, and return the time of the next step."""

    def begin_last(self) -> bool:
        """Begin the last export, at the interpreter's exit; return False if one is under way."""

    def finish(self, start: float, *, begun: bool) -> None:
        """Wait for the last export, within the time limit of an exit that began at ``start``."""

    def reset_in_child(self) -> None:
        """Start again in a forked child."""


def seconds_until(deadline: float) -> float:
    """Return the seconds until a time of ``time.monotonic``, at most what locks can wait."""
    return min(max(0, deadline - time.monotonic()), threading.TIMEOUT_MAX)


class Schedule:
    """Begins every export when it is due, and for the last time when the interpreter exits.

    Its thread runs while there are exports, and starts again in forked children. All methods may
    be called from any thread.
    """

    def __init__(self) -> None:
        self._exports: tuple[Scheduled, ...] = ()  # replaced, never mutated: loops need no lock
        self._has_hooks = False
        self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    def add(self, export: Scheduled) -> None:
        """Begin to call ``export`` when it is due."""
        with self._changed:
            if not self._has_hooks:
                self._has_hooks = True
                atexit.register(self._at_exit)
                os.register_at_fork(after_in_child=self._reset_in_child)
            self._start()  # first, because starting a thread may fail
            self._exports = (*self._exports, export)
            self._changed.notify()

    def remove(self, export: Scheduled) -> bool:
        """Stop calling ``export``; return whether it was scheduled."""
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
        # Begin all of them before waiting for any. Where one is under way, finish() begins the
        # last one.
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
"""The schedule of the process."""
