"""Periodically export a monitor's data in the background, without blocking the program."""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
from math import inf, isfinite
from typing import TYPE_CHECKING, TypeAlias

from nanospan.export.schedule import schedule, seconds_until
from nanospan.recorder import Recorder, process_recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from nanospan._core import MonitorSnapshot
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
    if not (seconds > 0 and isfinite(seconds)):
        raise ValueError(f"{name} must be a positive, finite number of seconds, got {seconds!r}")


class _Run:
    """One call of an exporter, in progress or finished."""

    def __init__(self, overdue_at: float, *, is_last: bool) -> None:
        self.is_last = is_last
        self.overdue_at = overdue_at  # inf once the overrun has been reported
        self.done = threading.Event()
        self.succeeded = False

    def wait(self, deadline: float) -> bool:
        return self.done.wait(seconds_until(deadline))


class PeriodicExport:
    """A running periodic export, as returned by :func:`export_periodically`.

    All methods are thread-safe.

    Attributes:
        name: The exporter's name in log messages.
        interval: Time between exports, in seconds.
        export_count: Number of exports that succeeded.
        error_count: Number of exports that failed or took longer than ``timeout``.
        skipped_count: Number of exports skipped because the previous one was still running.
        last_error: A description of the latest failure, or None.
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
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()  # guards the attributes below
        self.export_count = 0
        self.error_count = 0
        self.skipped_count = 0
        self.last_error: str | None = None
        self._run: _Run | None = None
        self._causes: set[object] = set()
        self._failures = 0  # since the last success
        self._due = self._next_due(time.monotonic())

    def flush(self, timeout: float | None = None) -> bool:
        """Export now, and wait until the export is done.

        If an export is already running, it may lack the latest samples, so wait for it to finish
        and then start another.

        Args:
            timeout: Maximum time to wait, in seconds; by default, the ``timeout`` given to
                :func:`export_periodically`.

        Returns:
            True if the export succeeded in time. An export that takes longer keeps running.

        Raises:
            TypeError: If ``timeout`` is not a number.
            ValueError: If ``timeout`` is not positive and finite.
        """
        return self._flush(timeout, is_last=False)

    def close(self, timeout: float | None = None) -> bool:
        """Export one last time, and stop. Further calls do nothing and return True.

        Args:
            timeout: Maximum time to wait, in seconds; see :meth:`flush`.

        Returns:
            True if the last export succeeded in time.

        Raises:
            TypeError: If ``timeout`` is not a number.
            ValueError: If ``timeout`` is not positive and finite.
        """
        if timeout is not None:
            _check_seconds("timeout", timeout)
        return not schedule.remove(self) or self._flush(timeout, is_last=True)

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

    def _flush(self, timeout: float | None, *, is_last: bool) -> bool:
        if timeout is None:
            timeout = self._timeout
        _check_seconds("timeout", timeout)
        return self._flush_until(time.monotonic() + timeout, is_last=is_last)

    def _flush_until(self, deadline: float, *, is_last: bool) -> bool:
        while (run := self.begin(is_last=is_last)) is None:
            if (before := self._run) and not before.wait(deadline):
                return False
        return run.wait(deadline) and run.succeeded

    def begin(self, *, is_last: bool = False) -> _Run | None:
        """Start an export and return its run; return None if another export is still running."""
        with self._lock:
            if self._run and not self._run.done.is_set():
                return None
            run = self._run = _Run(time.monotonic() + self._timeout, is_last=is_last)
        thread = threading.Thread(
            target=self._work, args=(run,), name=f"nanospan-export-{self.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            if is_last:
                # CPython 3.12.0 and 3.12.1 refuse to start threads during interpreter exit.
                self._work(run)
            else:
                self._failed(error)
                run.done.set()
        return run

    def _work(self, run: _Run) -> None:
        try:
            measurements = self._monitor.measurements()
            snapshot = self._monitor.snapshot()
            self._export(snapshot, measurements)
        except BaseException as error:  # noqa: BLE001 - a thread would lose even SystemExit
            self._failed(error)
        else:
            run.succeeded = True
            self._succeeded()
        try:
            if run.is_last and (close := getattr(self._export, "close", None)):
                close()
        except BaseException:
            logger.exception("closing exporter %s failed", self.name)
        finally:
            run.done.set()

    def _succeeded(self) -> None:
        with self._lock:
            self.export_count += 1
            failures, self._failures = self._failures, 0
            self._causes.clear()
        if failures:
            logger.info("export by %s succeeded again after %d failures", self.name, failures)

    def _failed(self, error: BaseException) -> None:
        if self._count_failure(f"{type(error).__name__}: {error}", _cause(error)):
            logger.warning(
                "export by %s failed: %s; further failures with this cause are counted, but not "
                "logged until an export succeeds",
                self.name,
                self.last_error,
                exc_info=error,
            )

    def _count_failure(self, text: str, cause: object) -> bool:
        """Count a failure; return True if it must be logged.

        Only the first failure with a given cause since the last success is logged.
        """
        with self._lock:
            self.error_count += 1
            self._failures += 1
            self.last_error = text
            is_first = cause not in self._causes and len(self._causes) < MAX_CAUSES
            if is_first:
                self._causes.add(cause)
            return is_first

    def _next_due(self, now: float) -> float:
        return now + self.interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311

    # The methods below are called by the schedule.

    def step(self, now: float) -> float:
        """Start an export if one is due, and report a running export that has exceeded its timeout.

        Return the time at which to call this method again.
        """
        run = self._run
        if run and not run.done.is_set() and now >= run.overdue_at:
            run.overdue_at = inf
            text = f"still running after {self._timeout:g} s"
            if self._count_failure(text, "timeout"):
                logger.warning(
                    "export by %s is %s; its next export will start only after this one finishes",
                    self.name,
                    text,
                )
        if now >= self._due:
            self._due = self._next_due(now)
            if self.begin() is None:
                self.skipped_count += 1
        run = self._run
        return min(self._due, run.overdue_at if run and not run.done.is_set() else inf)

    def begin_last(self) -> bool:
        """Start the last export; return False if another export is still running."""
        return self.begin(is_last=True) is not None

    def finish(self, start: float, *, begun: bool) -> None:
        """Wait for the last export to finish, for at most ``exit_timeout`` seconds from ``start``.

        Args:
            start: The ``time.monotonic`` reading when the interpreter began to exit.
            begun: Whether :meth:`begin_last` started the last export; if not, start it here.
        """
        deadline = start + self._exit_timeout
        if begun and self._run is not None:
            self._run.wait(deadline)
        else:  # the running export may lack the latest samples
            self._flush_until(deadline, is_last=True)
        if self._run and not self._run.done.is_set():
            logger.warning(
                "export by %s did not finish within %g s of interpreter exit; the latest samples "
                "may be lost",
                self.name,
                self._exit_timeout,
            )

    def reset_in_child(self) -> None:
        """Reset the state in a forked child, where the monitor has started to count from zero."""
        self._start_afresh()


def _cause(error: BaseException) -> object:
    """Return a key that identifies an error's cause: its class and the line that raised it.

    The error's message is left out, because it may contain details, such as ports or times, that
    differ on every attempt.
    """
    places = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return type(error), *places[-1:]
