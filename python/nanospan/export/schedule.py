"""Drive periodic exports from a single background thread.

That thread alone changes the state of exports. All others only send it events and wait for
answers, through queues that may be used by a signal handler or finaliser amid their use. No lock
is ever waited for, so no handler, finaliser or forked child can wait for a lock in vain.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from math import inf
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanospan.export.periodic_states import Answer, Event

logger = logging.getLogger("nanospan")

STARTING_TIME = 1.0
"""The time after which a new thread without an ``ident`` counts as stuck, in seconds."""

REST = 1.0
"""The pause after an unexpected error in the schedule's thread, in seconds."""


class Scheduled(Protocol):
    """The interface of a scheduled export.

    All methods but the last two are called on the schedule's thread. Times are
    ``time.monotonic()`` values, in seconds.
    """

    @property
    def is_closed(self) -> bool:
        """Whether the export has ended."""

    def step(self, now: float) -> float:
        """Do the work due at ``now``; return the time at which to call this method again."""

    def take(self, event: Event) -> None:
        """Process an event that was passed to :meth:`Schedule.post`."""

    def reset_in_child(self, missed: Sequence[Event]) -> None:
        """Reset the export's state in a forked child; ``missed`` are events not yet processed."""

    def begin_exit(self) -> Answer:
        """Request the last export, at interpreter exit; return where to receive its outcome."""

    def finish(self, outcome: Answer, start: float) -> None:
        """Wait for the outcome of the last export, at most for the export's exit timeout.

        Args:
            outcome: The result of :meth:`begin_exit`.
            start: The time at which the interpreter began to exit.
        """


class _Here(threading.local):
    """The role of the current thread.

    Attributes:
        serves: Whether exports depend on this thread, so that it must not wait for them: because it
            is the schedule's thread or is starting it, or because it is exporting.
        exporting: The export that this thread is running, if any.
    """

    serves: bool = False
    exporting: object = None


here = _Here()

_starting: dict[threading.Thread, None] = {}
"""Threads that have been started, but do not run nanospan's code yet.

A finaliser may run on a new thread even so, and must not wait for it.
"""


def start_thread(thread: threading.Thread) -> None:
    """Start a thread on which exports depend; it must call :func:`begin_serving`."""
    _starting[thread] = None
    try:
        thread.start()
    except BaseException:
        _starting.pop(thread, None)
        raise


def begin_serving() -> None:
    """Note that exports depend on the current thread from now on."""
    here.serves = True
    for thread in list(_starting):
        if thread.ident == threading.get_ident():
            _starting.pop(thread, None)


def must_not_wait() -> bool:
    """Return whether the current thread would wait for exports in vain.

    Exports may depend on the thread itself, or on threads that ended with the interpreter.
    """
    me = threading.get_ident()
    return (
        sys.is_finalizing() or here.serves or any(thread.ident == me for thread in list(_starting))
    )


def seconds_until(deadline: float) -> float:
    """Return the seconds until a ``time.monotonic()`` deadline, for use as a timeout.

    The result is at least 0 and at most ``threading.TIMEOUT_MAX``.
    """
    return min(max(0, deadline - time.monotonic()), threading.TIMEOUT_MAX)


def receive(answer: Answer, deadline: float) -> bool | None:
    """Wait for an answer; return None if it has not come by a ``time.monotonic()`` deadline.

    Return None early if the current thread is probably one that the answer depends on. That shows
    only by its not getting on, if a finaliser runs on a new thread before it has its ``ident``.
    """
    stuck: set[threading.Thread] = set()
    while True:
        until = min(deadline, time.monotonic() + STARTING_TIME)
        try:
            return answer.get(timeout=seconds_until(until))
        except Empty:
            starting = {thread for thread in list(_starting) if thread.ident is None}
            if until >= deadline or stuck & starting:
                return None
            stuck = starting


class _Service:
    """The events for the schedule's thread in one process.

    Attributes:
        events: Exports and their events; a None only wakes the thread up.
        is_served: Locked while a thread processes the events; only ever tried, never waited for.
    """

    def __init__(self) -> None:
        self.events: SimpleQueue[tuple[Scheduled, Event] | None] = SimpleQueue()
        self.is_served = threading.Lock()


class Schedule:
    """Starts each export when it is due, and one last time when the interpreter exits.

    The schedule's thread runs while there are exports, and is restarted in forked children. All
    methods may be called by any thread, signal handler and finaliser.
    """

    def __init__(self) -> None:
        # A dict rather than a set, to keep their order; its operations are atomic.
        self._exports: dict[Scheduled, None] = {}
        self._service = _Service()
        self._is_unhooked = [True]
        os.register_at_fork(after_in_child=self._reset_in_child)

    def add(self, export: Scheduled) -> None:
        """Schedule ``export`` until it is closed, starting the thread if it is not running.

        Raises:
            RuntimeError: If the thread cannot be started; then ``export`` is not scheduled.
        """
        if self._is_unhooked:
            self._is_unhooked.clear()
            # Not earlier, because exit handlers run last in, first out: what the exporter uses may
            # have its own.
            atexit.register(self._at_exit)
        self._exports[export] = None
        try:
            self._send(None)
        except RuntimeError:
            self._exports.pop(export, None)
            raise

    def post(self, export: Scheduled, event: Event) -> None:
        """Have the schedule's thread pass ``event`` to ``export.take``. Never blocks.

        Raises:
            RuntimeError: If the thread is not running and cannot be started. The event is kept.
        """
        self._send((export, event))

    def _send(self, event: tuple[Scheduled, Event] | None) -> None:
        while True:
            service = self._service
            service.events.put(event)
            if service is self._service:  # otherwise a handler has forked, and this is the child
                break
        self._serve(service)

    def _serve(self, service: _Service) -> None:
        """Start the schedule's thread unless it is running."""
        if sys.is_finalizing():  # all threads have ended, and CPython 3.11 would wait for a new one
            raise RuntimeError("exports cannot run while the interpreter is ending")
        was_serving, here.serves = here.serves, True
        try:
            if service.is_served.acquire(blocking=False):
                thread = threading.Thread(
                    target=self._work, args=(service,), name="nanospan-export", daemon=True
                )
                try:
                    start_thread(thread)
                except BaseException:
                    service.is_served.release()
                    raise
        finally:
            here.serves = was_serving

    def _work(self, service: _Service) -> None:
        begin_serving()
        while service is self._service:  # otherwise this thread has forked, and this is the child
            try:
                next_step = self._step_all()
                if self._exports or not service.events.empty():
                    _take_next(service, next_step)
                    continue
            except Exception:
                logger.exception("the schedule of exports failed")
                time.sleep(REST)
                continue
            service.is_served.release()
            # What was sent before the release has not started another thread.
            has_more = self._exports or not service.events.empty()
            if not (has_more and service.is_served.acquire(blocking=False)):
                return

    def _step_all(self) -> float:
        next_step = inf
        for export in list(self._exports):
            if export.is_closed:
                self._exports.pop(export, None)
            else:
                next_step = min(next_step, export.step(time.monotonic()))
        return next_step

    def _at_exit(self) -> None:
        start = time.monotonic()
        # Request every last export before waiting for any of them.
        outcomes = [(export, export.begin_exit()) for export in list(self._exports)]
        for export, outcome in outcomes:
            export.finish(outcome, start)

    def _reset_in_child(self) -> None:
        before, self._service = self._service, _Service()
        here.serves, here.exporting = False, None
        _starting.clear()
        missed: list[tuple[Scheduled, Event]] = []
        while not before.events.empty():
            if (event := before.events.get_nowait()) is not None:
                missed.append(event)
        for export in {**self._exports, **dict.fromkeys(export for export, _ in missed)}:
            export.reset_in_child([event for other, event in missed if other is export])
        if self._exports:
            try:
                self._serve(self._service)
            except RuntimeError:
                logger.exception("exports cannot run in this forked process")


def _take_next(service: _Service, next_step: float) -> None:
    """Wait for the next event until the time ``next_step``, and process it.

    A separate function, so that the thread keeps no reference to an export while it waits.
    """
    try:
        event = service.events.get(timeout=seconds_until(next_step))
    except Empty:
        return
    if event is not None:
        event[0].take(event[1])


schedule = Schedule()
"""The schedule that all periodic exports in the process share."""
