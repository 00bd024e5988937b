"""Periodically export a monitor's data in the background, without blocking the program."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from math import inf, isfinite
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal, TypeAlias

from nanospan.export.failure_log import FailureLog
from nanospan.export.periodic_states import Event, Lifecycle, Step, step
from nanospan.export.schedule import (
    begin_serving,
    here,
    must_not_wait,
    receive,
    schedule,
    start_thread,
)
from nanospan.recorder import Recorder, process_recorder
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from nanospan._core import MonitorSnapshot
    from nanospan.export.periodic_states import Answer
    from nanospan.values.measurements import Measurement

logger = logging.getLogger("nanospan")

Exporter: TypeAlias = "Callable[[MonitorSnapshot, Sequence[Measurement]], object]"
"""A function that exports a snapshot and measurements, or raises an exception on failure."""

JITTER = 0.1
"""Maximum random change of each wait between exports, as a fraction of the interval.

The random change keeps many processes from exporting at the same time.
"""

MAX_CAUSES = 16
"""Maximum number of distinct failure causes to log; failures beyond that are only counted."""


def export_periodically(
    export: Exporter,
    monitor: Recorder | None = None,
    *,
    interval: float = 60.0,
    timeout: float = 30.0,
    exit_timeout: float = 5.0,
) -> PeriodicExport:
    """Start calling ``export(monitor.snapshot(), monitor.measurements())`` periodically.

    A single daemon thread schedules all exporters in the process; each export runs on a separate
    thread. If an export exceeds ``timeout``, a warning is logged, and its exporter is not called
    again until that export finishes. Other exporters are not delayed.

    The last export runs when the interpreter exits, or on :meth:`PeriodicExport.close`. If the
    process is killed or calls ``os._exit``, as ``multiprocessing`` processes do, the last export
    does not run.

    After ``os.fork``, the child process exports too, but only samples recorded since the fork; the
    parent exports the earlier samples.

    Args:
        export: Called with a :class:`nanospan.MonitorSnapshot` and a list of
            :class:`nanospan.Measurement`, on a background thread, one call at a time. If ``export``
            has a ``close()`` method, the method is called after the last export.
        monitor: The monitor whose data is exported; the process-wide one if None. The monitor is
            kept alive until the export is closed.
        interval: Time between exports, in seconds; each wait varies by up to 10 %.
        timeout: Time after which an export that is still running counts as failed, in seconds.
        exit_timeout: Maximum time that the interpreter's exit waits for the last export, in
            seconds.

    Returns:
        A handle to the running export, with counters, ``flush()`` and ``close()``; it is also a
        context manager.

    Raises:
        TypeError: If ``export`` is not callable, or ``interval`` or a timeout is not a number.
        ValueError: If ``interval`` or a timeout is not positive and finite.
        RuntimeError: If no thread can be started, as while the interpreter is ending.
    """
    if not callable(export):
        raise TypeError(f"export must be callable, got {type(export).__name__}")
    _check_seconds("interval", interval)
    _check_seconds("timeout", timeout)
    _check_seconds("exit_timeout", exit_timeout)
    if monitor is None:
        monitor = process_recorder()
    periodic = PeriodicExport(export, monitor, interval, timeout, exit_timeout)
    schedule.add(periodic)
    return periodic


def _check_seconds(name: str, seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, got {type(seconds).__name__}")
    try:
        is_valid = seconds > 0 and isfinite(seconds)
    except OverflowError:  # an integer beyond the range of a float
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"{name} must be a positive, finite number of seconds, got {shown(seconds)}"
        )


class _Run:
    """An export in progress, or the call that closes the exporter."""

    def __init__(self, kind: Literal["export", "shut"], overdue_at: float) -> None:
        self.kind = kind
        self.overdue_at = overdue_at  # inf once the overrun has been reported


class PeriodicExport:
    """A running periodic export, as returned by :func:`export_periodically`.

    All methods may be called from any thread, signal handler and finaliser. In a child forked while
    another thread is in ``close()``, the export is closed.

    Attributes:
        name: The exporter's name in log messages.
        interval: Time between exports, in seconds.
        export_count: Number of exports that succeeded.
        skipped_count: Number of exports skipped because the previous one was still running.
    """

    def __init__(
        self,
        export: Exporter,
        monitor: Recorder,
        interval: float,
        timeout: float,
        exit_timeout: float,
    ) -> None:
        self.name: str = getattr(export, "__qualname__", type(export).__qualname__)
        self.interval = interval
        self._export = export
        self._monitor = monitor
        self._timeout = timeout
        self._exit_timeout = exit_timeout
        self._lifecycle = Lifecycle()  # changed only by the schedule's thread, as is the next one
        self._run: _Run | None = None
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.export_count = 0
        self.skipped_count = 0
        self._due = self._next_due(time.monotonic())
        self._failures = FailureLog(self.name, MAX_CAUSES)

    @property
    def error_count(self) -> int:
        """Number of exports that failed or took longer than ``timeout``."""
        return self._failures.count

    @property
    def last_error(self) -> str | None:
        """A description of the latest failure, or None."""
        return self._failures.last_error

    def flush(self, timeout: float | None = None) -> bool:
        """Export now, and wait until the export is done.

        If an export is already running, it may lack the latest samples, so wait for it to finish
        and then start another. Called by an exporter, do nothing and return False, because the
        exporter would wait for itself.

        Args:
            timeout: Maximum time to wait, in seconds; by default, the ``timeout`` given to
                :func:`export_periodically`.

        Returns:
            True if the export succeeded in time. An export that takes longer keeps running. False
            if the export has been closed.

        Raises:
            TypeError: If ``timeout`` is not a number.
            ValueError: If ``timeout`` is not positive and finite.
        """
        timeout = self._checked(timeout)
        if must_not_wait() or self.is_closed:
            return False
        return self._request("flush", timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Export one last time, close the exporter, and stop.

        Further calls wait for that export while it is running; afterwards, they do nothing and
        return True. If an earlier export is still running when the time is up, no other follows it.

        Called by the exporter itself, make the export that is running the last one, and return
        False without waiting for it.

        Args:
            timeout: Maximum time to wait, in seconds; see :meth:`flush`.

        Returns:
            True if the last export succeeded in time.

        Raises:
            TypeError: If ``timeout`` is not a number.
            ValueError: If ``timeout`` is not positive and finite.
        """
        timeout = self._checked(timeout)
        if self.is_closed:
            return True
        if here.exporting is self:
            schedule.post(self, Event("stop"))
            return False
        if sys.is_finalizing():
            return False
        return self._request("close", timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = f"{self.export_count} exports, {self.error_count} errors"
        return f"<PeriodicExport {self.name} every {self.interval:g} s, {counts}>"

    def _checked(self, timeout: float | None) -> float:
        if timeout is None:
            return self._timeout
        _check_seconds("timeout", timeout)
        return timeout

    def _request(self, name: Literal["flush", "close"], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        answer: Answer = SimpleQueue()
        try:
            schedule.post(self, Event(name, answer))
        except RuntimeError as error:
            self._failures.failed(error)
            return False
        if must_not_wait():  # for example, because this thread itself must answer
            return False
        outcome = receive(answer, deadline)
        if outcome is None:
            schedule.post(self, Event("withdraw", answer))
        return bool(outcome)

    # The methods below are called by the schedule, on its thread if nothing else is said.

    @property
    def is_closed(self) -> bool:
        """Whether the export has been closed. Any thread may ask."""
        return self._lifecycle.state == "closed"

    def step(self, now: float) -> float:
        """Start an export if one is due, and report a running export that has exceeded its timeout.

        Return the time at which to call this method again.
        """
        if now >= self._due:
            self._due = self._next_due(now)
            self._apply(step(self._lifecycle, Event("due")))
        state, run = self._lifecycle.state, self._run
        if run is None or state not in {"idle", "running"}:
            return self._due if state == "idle" else inf
        if state == "running" and now >= run.overdue_at:
            run.overdue_at = inf
            self._failures.overran(self._timeout)
        return min(self._due, run.overdue_at if state == "running" else inf)

    def take(self, event: Event) -> None:
        """Process an event: a request, or the end of a run."""
        if event.run in {None, self._run}:  # a forked child may finish a run of its parent
            self._apply(step(self._lifecycle, event))

    def _apply(self, then: Step) -> None:
        self._lifecycle = then.lifecycle
        self.skipped_count += then.skipped
        if then.start is not None:
            self._begin(_Run(then.start, time.monotonic() + self._timeout))
        _give_answers(then)

    def _begin(self, run: _Run) -> None:
        self._run = run
        thread = threading.Thread(
            target=self._work, args=(run,), name=f"nanospan-export-{self.name}", daemon=True
        )
        try:
            start_thread(thread)
        except RuntimeError as error:
            if self._lifecycle.state in {"last", "shutting"}:
                # CPython 3.12.0 and 3.12.1 refuse to start threads during interpreter exit.
                self._work(run)
            else:
                self._failures.failed(error)
                schedule.post(self, Event("failed", run=run))

    def _work(self, run: _Run) -> None:
        """Carry out a run, on a thread that does nothing else if one can be started."""
        was_serving, here.exporting = here.serves, self
        begin_serving()
        succeeded = False
        try:
            if run.kind == "export":
                succeeded = self._try_to_export()
            else:
                self._close_exporter()
        finally:
            schedule.post(self, Event("succeeded" if succeeded else "failed", run=run))
            here.serves, here.exporting = was_serving, None

    def _try_to_export(self) -> bool:
        try:
            measurements = self._monitor.measurements()
            snapshot = self._monitor.snapshot()
            self._export(snapshot, measurements)
        except BaseException as error:  # noqa: BLE001 - a thread would lose even SystemExit
            self._failures.failed(error)
            return False
        self.export_count += 1
        self._failures.succeeded()
        return True

    def _close_exporter(self) -> None:
        try:
            if close := getattr(self._export, "close", None):
                close()
        except BaseException:
            logger.exception("closing exporter %s failed", self.name)

    def _next_due(self, now: float) -> float:
        return now + self.interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311

    def begin_exit(self) -> Answer:
        """Request the last export; called by the thread that ends the interpreter."""
        answer: Answer = SimpleQueue()
        try:
            schedule.post(self, Event("close", answer))
        except RuntimeError as error:
            self._failures.failed(error)
            answer.put(item=False)
        return answer

    def finish(self, outcome: Answer, start: float) -> None:
        """Wait for the last export, at most ``exit_timeout`` seconds from ``start``.

        Called by the thread that ends the interpreter.

        Args:
            outcome: The result of :meth:`begin_exit`.
            start: The ``time.monotonic`` reading when the interpreter began to exit.
        """
        if receive(outcome, start + self._exit_timeout) is None:
            logger.warning(
                "export by %s did not finish within %g s of interpreter exit; the latest samples "
                "may be lost",
                self.name,
                self._exit_timeout,
            )

    def reset_in_child(self, missed: Sequence[Event]) -> None:
        """Reset the state in a forked child, where the monitor has started to count from zero.

        Called in the child's only thread. An export that was being closed is closed there.
        """
        self._run = None  # its end would not be the end of a run of this process
        for event in (*(each for each in missed if each.run is None), Event("fork")):
            then = step(self._lifecycle, event)
            self._lifecycle = then.lifecycle
            _give_answers(then)
        self._start_afresh()


def _give_answers(then: Step) -> None:
    for answer, succeeded in then.answers:
        answer.put(succeeded)
