"""The performance monitor: recording is native, everything around it is here."""

from __future__ import annotations

import logging
import os
import threading
from array import array
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nanospan import _core
from nanospan.metrics import PerformanceMetric, PerformanceStats
from nanospan.tracking import decorate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nanospan.alerts import Alerts
    from nanospan.measurements import Measurement, Source
    from nanospan.regression import Baseline, Comparison

logger = logging.getLogger("nanospan")

AlertCallback = Callable[[str, PerformanceMetric], object]
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_THRESHOLDS = {
    "connection_pool_access": 0.010,
    "m0_operation": 0.100,
    "m1_operation": 0.150,
    "m2_operation": 0.150,
    "buffer_flush": 0.050,
    "service_access": 0.010,
}
"""Seconds over which a sample of these operations is a violation, unless set otherwise."""

REGRESSION_FACTOR = 1.2
"""How many times its baseline's an operation's mean must exceed to be reported."""


class PerformanceMonitor(_core.Monitor):
    """Records how long operations take and answers questions about them.

    ```python
    monitor = PerformanceMonitor()
    with monitor.track_operation("parse"):
        ...
    monitor.get_stats("parse").p99_duration
    ```

    Every method may be called from any thread, task, signal handler or finaliser. Recording never
    blocks, and never raises except for bad arguments.

    Args:
        max_metrics_per_operation: The length of each operation's window, in samples.
        max_operations: How many operation names are kept apart. Samples of further names go to
            the operation ``__overflow__``; one warning is logged.

    Raises:
        ValueError: If a bound is below 1, or the window longer than 16,777,216.
    """

    def __init__(
        self, max_metrics_per_operation: int = 1000, *, max_operations: int = 10_000
    ) -> None:
        events = _Events()
        super().__init__(max_metrics_per_operation, max_operations, events)
        self._events = events
        self._sources: tuple[Source, ...] = ()
        self._sources_lock = threading.Lock()
        self._alerts: Alerts | None = None
        for operation, seconds in DEFAULT_THRESHOLDS.items():
            self.set_threshold(operation, seconds)

    def get_all_stats(self) -> dict[str, PerformanceStats]:
        """Return the statistics of every operation that has samples, by name."""
        every = {operation: self.get_stats(operation) for operation in self._names()}
        return {operation: stats for operation, stats in every.items() if stats is not None}

    def add_alert_callback(self, callback: AlertCallback) -> None:
        """Have ``callback("threshold_violation", metric)`` called for every violation.

        It runs on the recording thread, before the record call or the span's exit returns. What
        it raises is logged, and the other callbacks still run.

        Raises:
            TypeError: If ``callback`` cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"an alert callback is callable, got {callback!r}")
        self._events.add(callback)

    def remove_alert_callback(self, callback: AlertCallback) -> None:
        """Take back one :meth:`add_alert_callback`; unknown callbacks are ignored."""
        self._events.remove(callback)

    @property
    def alerts(self) -> Alerts:
        """The rules on this monitor, and who is told when they hold.

        Without rules there is no thread, and nothing is looked at. After ``alerts.close()`` the
        next access gives new ones.
        """
        from nanospan.alerts import Alerts  # noqa: PLC0415 - a layer above, when asked for

        with _creation:
            if self._alerts is None or self._alerts.closed:
                self._alerts = Alerts(self, regression=_regression)
            return self._alerts

    def detect_regressions(self, baseline_stats: Mapping[str, PerformanceStats]) -> list[str]:
        """Compare every operation's mean with its baseline's.

        Args:
            baseline_stats: Earlier results of :meth:`get_all_stats`. Operations without samples
                now, and baselines whose mean is zero, cannot be compared and are passed over.

        Returns:
            A line for each mean over 1.2 times its baseline's; each is also logged as a warning.
        """
        regressions = []
        for operation, baseline in baseline_stats.items():
            current = self.get_stats(operation)
            before = baseline.avg_duration
            if current is None or before <= 0:
                continue
            after = current.avg_duration
            if after > before * REGRESSION_FACTOR:
                increase = (after - before) / before * 100
                line = (
                    f"Performance regression in {operation}: "
                    f"{before:.3f}s -> {after:.3f}s ({increase:.1f}% increase)"
                )
                logger.warning("%s", line)
                regressions.append(line)
        return regressions

    def baseline(self, labels: Mapping[str, str] | None = None) -> Baseline:
        """Take a baseline of every operation that has samples, to save and to compare with later.

        Args:
            labels: Texts to keep with it, by name: commit, branch, and the like.

        Returns:
            Of each operation the durations in its window, and its histogram. Recording goes on
            meanwhile; what is recorded during the call may be in or not.

        Raises:
            TypeError: If a label is no text.
        """
        from nanospan.regression import Baseline  # noqa: PLC0415 - a layer above

        return Baseline.from_monitor(self, labels)

    def compare(
        self,
        baseline: Baseline,
        *,
        fdr: float = 0.05,
        min_effect: float = 0.03,
        tail_min_effect: float | None = None,
    ) -> dict[str, Comparison]:
        """Compare the durations in the windows with those of a baseline.

        Args:
            baseline: What to compare with.
            fdr: How many of the operations called changed are not, on average, at most: a share.
            min_effect: The least change of the median that counts, as a share of it.
            tail_min_effect: The least change of a tail quantile that counts, as a share of it;
                unless given, 0.10 or ``min_effect``, whichever is more.

        Returns:
            A comparison for each operation that the baseline has, and the monitor has samples of.

        Raises:
            TypeError: If ``baseline`` is none.
            ValueError: If a setting is out of range.
        """
        from nanospan.regression import Baseline, compare_many  # noqa: PLC0415 - a layer above
        from nanospan.regression.effects import tail_min_effect as least  # noqa: PLC0415 - the same

        if not isinstance(baseline, Baseline):
            raise TypeError(
                f"expected a Baseline, got a {type(baseline).__name__}; Baseline.load reads a file"
            )
        return compare_many(
            {
                name: (operation.samples, window)
                for name, operation in baseline.operations.items()
                if (window := self._window(name))
            },
            fdr=fdr,
            min_effect=min_effect,
            tail_min_effect=least(min_effect) if tail_min_effect is None else tail_min_effect,
        )

    def _window(self, operation: str) -> array[float]:
        """The durations in an operation's window, in seconds, oldest first."""
        return array("d", (sample[0] for sample in self._samples(operation)))

    def export_metrics(self, operation: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Return the window's samples as plain dicts, oldest first, by operation.

        Args:
            operation: Only this one; an unknown name gives ``{}``.

        Returns:
            ``{operation: [{"operation", "duration", "timestamp", "success", "metadata"}, ...]}``
            with durations in seconds and Unix timestamps. The dicts are copies.
        """
        names = self._names() if operation is None else [operation]
        exported = {
            name: [
                {
                    "operation": name,
                    "duration": duration,
                    "timestamp": timestamp,
                    "success": success,
                    "metadata": metadata,
                }
                for duration, timestamp, success, metadata in self._samples(name)
            ]
            for name in names
        }
        return {name: samples for name, samples in exported.items() if samples}

    def add_source(self, source: Source) -> None:
        """Have :meth:`measurements` ask ``source``; adding one again changes nothing.

        Args:
            source: Called without arguments from whichever thread exports, it returns measurements
                quickly, without waiting for anything.

        Raises:
            TypeError: If ``source`` cannot be called.
        """
        if not callable(source):
            raise TypeError(f"a source is callable, got {source!r}")
        with self._sources_lock:
            if source not in self._sources:
                self._sources = (*self._sources, source)

    def remove_source(self, source: Source) -> None:
        """Take back :meth:`add_source`; an unknown source is ignored."""
        with self._sources_lock:
            self._sources = tuple(known for known in self._sources if known != source)

    def measurements(self) -> list[Measurement]:
        """Return what all sources report now; what one of them raises is logged."""
        measurements: list[Measurement] = []
        for source in self._sources:
            try:
                measurements.extend(source())
            except Exception:
                logger.exception("source %r of measurements failed", source)
        return measurements

    def plot(self, operation: str) -> Figure:
        """Draw an operation with matplotlib (extra ``plot``).

        See :func:`nanospan.export.plot.plot`.
        """
        from nanospan.export.plot import plot  # noqa: PLC0415 - a layer above, when asked for

        return plot(self, operation)

    def report(
        self,
        path: str | os.PathLike[str],
        title: str = "nanospan report",
        baseline: Baseline | None = None,
    ) -> None:
        """Write a report on every operation: an HTML page that loads nothing from anywhere.

        With a baseline, it shows how each operation compares with it. See
        :func:`nanospan.export.report.write_report`.
        """
        from nanospan.export.report import write_report  # noqa: PLC0415 - a layer above

        write_report(self, path, title, None if baseline is None else self.compare(baseline))

    def __repr__(self) -> str:
        state = "enabled" if self.enabled else "disabled"
        return f"<{type(self).__name__} of {len(self._names())} operations, {state}>"


class _Events:
    """What the native side reports: violations, to the callbacks, and refused names.

    It does not refer to the monitor, so that a monitor without cyclic callbacks is freed at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Replaced, never changed, so that a callback may add and remove callbacks.
        self._callbacks: tuple[AlertCallback, ...] = ()

    def add(self, callback: AlertCallback) -> None:
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

    def remove(self, callback: AlertCallback) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
            if callback in callbacks:
                callbacks.remove(callback)
            self._callbacks = tuple(callbacks)

    def violation(
        self,
        operation: str,
        duration: float,
        timestamp: float,
        success: bool,
        metadata: dict[str, Any] | None,
    ) -> None:
        for callback in self._callbacks:
            try:
                # One metric each: what a callback does to it must not reach the others.
                metric = PerformanceMetric(
                    operation, duration, timestamp, success, dict(metadata or {})
                )
                callback("threshold_violation", metric)
            except KeyboardInterrupt:
                raise
            except BaseException:
                # SystemExit included: no monitoring callback may end the monitored program.
                logger.exception("alert callback %r failed for operation %r", callback, operation)

    def overflow(self, operation: str, max_operations: int) -> None:
        logger.warning(
            "operation %r is one more than max_operations=%d; its samples and those of further new "
            "names go to %r. Names should not hold identifiers; put those into metadata",
            operation,
            max_operations,
            _core.OVERFLOW_OPERATION,
        )


_creation = threading.Lock()
if hasattr(os, "register_at_fork"):  # held by another thread, it would never be free in the child
    os.register_at_fork(
        before=_creation.acquire,
        after_in_parent=_creation.release,
        after_in_child=_creation.release,
    )


def get_performance_monitor() -> PerformanceMonitor:
    """Return the monitor of this process, the same whichever thread asks first."""
    monitor = _core.process_monitor()
    if monitor is None:
        created = None
        with _creation:
            monitor = _core.process_monitor()
            if monitor is None:
                monitor = created = PerformanceMonitor()
                _core.set_process_monitor(monitor)
        if created is not None and (path := os.environ.get("NANOSPAN_ALERTS")):
            _load_alerts(created, path)
    return cast("PerformanceMonitor", monitor)


def _load_alerts(monitor: PerformanceMonitor, path: str) -> None:
    """Load a file of alert rules; a broken one is logged, as it must not break the program."""
    try:
        monitor.alerts.load(path)
    except Exception as exc:  # noqa: BLE001 - whatever it is
        # The text says what is wrong and where; it holds no secret.
        logger.error("NANOSPAN_ALERTS: no alerts are loaded: %s", exc)  # noqa: TRY400


def _regression() -> Any:
    from nanospan import regression  # noqa: PLC0415 - a layer above, when a rule asks for it

    return regression


def track_performance(
    operation: str, metadata: Mapping[str, Any] | None = None
) -> Callable[[F], F]:
    """Decorate a function so that each of its executions is recorded by the process's monitor.

    Coroutine functions, generators and async generators are timed from their first step to their
    end; methods, class methods and static methods work in either order of decorators. Name,
    signature and docstring stay. The monitor is found when the function is called.

    ```python
    @track_performance("load_user", {"source": "db"})
    async def load_user(user_id): ...
    ```

    Args:
        operation: The operation's name, a non-empty string.
        metadata: Kept with every sample.

    Raises:
        TypeError: If ``operation`` is no string, ``metadata`` no mapping, or (when applied) what
            is decorated cannot be called.
        ValueError: If ``operation`` is empty.
    """
    source = _core.Source(operation, metadata)

    def decorator(function: F) -> F:
        return decorate(function, source)

    return decorator
