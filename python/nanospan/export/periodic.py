"""Exporting again and again in the background, without ever holding the program up."""

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
"""Takes what the monitor recorded and its sources report. What it raises is a failed export."""

JITTER = 0.1
"""By how much of the interval a wait is longer or shorter, so that a fleet spreads its exports."""

MAX_CAUSES = 16
"""Failures are told apart up to this many causes; more are counted, and not logged."""


def export_periodically(
    export: Exporter,
    monitor: Recorder | None = None,
    *,
    interval: float = 60.0,
    timeout: float = 30.0,
    exit_timeout: float = 5.0,
) -> PeriodicExport:
    """Have ``export(monitor.snapshot(), monitor.measurements())`` called from now on.

    One daemon thread keeps the schedule of all exporters of the process, and runs nothing else:
    each export has a thread of its own for as long as it takes. An export that takes too long is
    reported and left to finish, and its exporter is passed over until it has; no other waits.

    The last export is made when the interpreter exits, or at :meth:`PeriodicExport.close`. A
    process that is killed, or ends by ``os._exit`` as those of ``multiprocessing`` do, makes none.

    After ``os.fork`` the child goes on exporting by itself. What it exports begins with the fork;
    what was recorded before is its parent's.

    Args:
        export: Called with a :class:`nanospan.MonitorSnapshot` and a list of
            :class:`nanospan.Measurement`, on a background thread, never twice at a time. If it has
            a method ``close()``, that is called after the last export.
        monitor: What to export; the process's monitor if None. It is kept alive until closed.
        interval: Seconds between two exports, each time varied by up to 10 %.
        timeout: Seconds after which an export counts as hanging.
        exit_timeout: Seconds for which the interpreter's exit waits for the last export.

    Returns:
        The running export: its counts, ``flush()`` and ``close()``. Also a context manager.

    Raises:
        TypeError: If ``export`` cannot be called, or a time is no number.
        ValueError: If a time is not positive and finite.
    """
    if not callable(export):
        raise TypeError(f"an exporter is callable, got {export!r}")
    for what, seconds in [
        ("interval", interval),
        ("timeout", timeout),
        ("exit_timeout", exit_timeout),
    ]:
        _check_seconds(what, seconds)
    if monitor is None:
        monitor = process_recorder()
    periodic = PeriodicExport(export, monitor, interval, timeout, exit_timeout)
    schedule.add(periodic)
    return periodic


def _check_seconds(what: str, seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{what} is a number of seconds, got {seconds!r}")
    if not (seconds > 0 and isfinite(seconds)):
        raise ValueError(f"{what} must be positive and finite, got {seconds!r} s")


class _Run:
    """One export under way."""

    def __init__(self, overdue_at: float, *, is_last: bool) -> None:
        self.is_last = is_last
        self.overdue_at = overdue_at  # inf once it has been reported
        self.done = threading.Event()
        self.succeeded = False

    def wait(self, deadline: float) -> bool:
        return self.done.wait(seconds_until(deadline))


class PeriodicExport:
    """An exporter that is called again and again; made by :func:`export_periodically`.

    Every method may be called from any thread.

    Attributes:
        name: What logs call the exporter.
        interval: Seconds between exports.
        export_count: Exports that succeeded.
        error_count: Exports that failed, or took longer than ``timeout``.
        skipped_count: Exports that were due while the one before was still running.
        last_error: What the latest failure was, None if there was none.
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
        self._inherited: MonitorSnapshot | None = None
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()  # over what follows
        self.export_count = 0
        self.error_count = 0
        self.skipped_count = 0
        self.last_error: str | None = None
        self._run: _Run | None = None
        self._causes: set[object] = set()
        self._failures = 0  # since the last success
        self._due = self._next_due(time.monotonic())

    def flush(self, timeout: float | None = None) -> bool:
        """Export now, and wait for it.

        An export under way is waited for first, as it may not hold what was recorded last.

        Args:
            timeout: Seconds to wait at most; by default those of the exporter.

        Returns:
            Whether the export succeeded in time. If it only takes too long, it goes on.

        Raises:
            TypeError: If ``timeout`` is no number.
            ValueError: If it is not positive and finite.
        """
        return self._flush(timeout, is_last=False)

    def close(self, timeout: float | None = None) -> bool:
        """Export for the last time, and never again. Closing once more does nothing.

        Args:
            timeout: As for :meth:`flush`.

        Returns:
            Whether the last export succeeded in time.

        Raises:
            TypeError: If ``timeout`` is no number.
            ValueError: If it is not positive and finite.
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
        """Begin an export, unless one is under way."""
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
                # CPython 3.12.0 and 3.12.1 start no thread while the interpreter exits.
                self._work(run)
            else:
                self._failed(error)
                run.done.set()
        return run

    def _work(self, run: _Run) -> None:
        try:
            measurements = self._monitor.measurements()
            snapshot = self._monitor.snapshot()
            if self._inherited is not None:
                snapshot = snapshot.since(self._inherited)
            self._export(snapshot, measurements)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: nobody else would hear of it
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
                "export by %s failed: %s. Repetitions are counted and not logged until it "
                "succeeds again",
                self.name,
                self.last_error,
                exc_info=error,
            )

    def _count_failure(self, text: str, cause: object) -> bool:
        """Count a failure, and say whether its cause is news."""
        with self._lock:
            self.error_count += 1
            self._failures += 1
            self.last_error = text
            is_news = cause not in self._causes and len(self._causes) < MAX_CAUSES
            if is_news:
                self._causes.add(cause)
            return is_news

    def _next_due(self, now: float) -> float:
        return now + self.interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311

    # What follows is called by the schedule.

    def step(self, now: float) -> float:
        """Do what is due, and return when to come back."""
        run = self._run
        if run and not run.done.is_set() and now >= run.overdue_at:
            run.overdue_at = inf
            text = f"still running after {self._timeout:g} s"
            if self._count_failure(text, "timeout"):
                logger.warning(
                    "export by %s is %s; it is left to finish, and not called again before",
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
        """Begin the export that the interpreter's exit waits for; False if one is under way."""
        return self.begin(is_last=True) is not None

    def finish(self, start: float, *, begun: bool) -> None:
        """Wait for the last export as long as an exit that began at ``start`` may."""
        deadline = start + self._exit_timeout
        if begun and self._run is not None:
            self._run.wait(deadline)
        else:  # the one under way may not hold what was recorded last
            self._flush_until(deadline, is_last=True)
        if self._run and not self._run.done.is_set():
            logger.warning(
                "export by %s was not done %g s after the interpreter began to exit; what was "
                "recorded last may be lost",
                self.name,
                self._exit_timeout,
            )

    def forked(self) -> None:
        """Become the child's: without the parent's threads, and without what it recorded."""
        self._start_afresh()
        self._inherited = self._monitor.snapshot()


def _cause(error: BaseException) -> object:
    """What tells failures apart: class and place, as messages hold addresses, ports and times."""
    places = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return type(error), *places[-1:]
