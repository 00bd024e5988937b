"""Extend the native monitor with callbacks and sources, and provide a process-wide instance."""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from nanospan import _core
from nanospan.reentrant import LiveObjects
from nanospan.values.messages import shown
from nanospan.values.samples import PerformanceMetric

if TYPE_CHECKING:
    from nanospan.values.measurements import Measurement, MeasurementSource
    from nanospan.values.statistics import PerformanceStats

logger = logging.getLogger("nanospan")

AlertCallback: TypeAlias = Callable[[str, PerformanceMetric], object]

DEFAULT_THRESHOLDS = {
    "connection_pool_access": 0.010,
    "m0_operation": 0.100,
    "m1_operation": 0.150,
    "m2_operation": 0.150,
    "buffer_flush": 0.050,
    "service_access": 0.010,
}
"""Default thresholds in seconds, keyed by operation: those of MemFuse's monitor.

A sample that takes longer than its operation's threshold is a violation.
"""


class Recorder(_core.Monitor):
    """Records how long operations take, and computes their statistics.

    :class:`nanospan.PerformanceMonitor` derives from this class and documents the arguments.
    """

    def __init__(
        self,
        max_metrics_per_operation: int = 1000,
        *,
        max_operations: int = 10_000,
        thresholds: Mapping[str, float | None] | None = None,
    ) -> None:
        if thresholds is None:
            thresholds = DEFAULT_THRESHOLDS
        elif not isinstance(thresholds, Mapping):
            raise TypeError(
                "thresholds must be a mapping of operation names to seconds, "
                f"got {type(thresholds).__name__}; pass {{}} for no thresholds"
            )
        events = _Events()
        super().__init__(max_metrics_per_operation, max_operations, events)
        self._events = events
        self._sources: _core.Atomic[tuple[MeasurementSource, ...]] = _core.Atomic(())
        _recorders.add(self)
        for operation, seconds in thresholds.items():
            self.set_threshold(operation, seconds)

    def get_all_stats(self) -> dict[str, PerformanceStats]:
        """Return the statistics of every operation that has samples, keyed by operation."""
        every = {operation: self.get_stats(operation) for operation in self._names()}
        return {operation: stats for operation, stats in every.items() if stats is not None}

    def add_alert_callback(self, callback: AlertCallback) -> None:
        """Call ``callback("threshold_violation", metric)`` for every future threshold violation.

        The callback runs on the thread that records the sample, before the record call or the
        span's exit returns. Exceptions from the callback are logged, and the other callbacks still
        run.

        Raises:
            TypeError: If ``callback`` is not callable.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        self._events.add(callback)

    def remove_alert_callback(self, callback: AlertCallback) -> None:
        """Remove ``callback``; if it was added several times, remove it only once.

        An unknown callback is ignored.
        """
        self._events.remove(callback)

    def durations(self, operation: str) -> array[float]:
        """Return the durations in an operation's window, in seconds, oldest first."""
        return array("d", (sample[0] for sample in self._samples(operation)))

    def export_metrics(self, operation: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Return the samples in each operation's window as dicts, oldest first.

        Args:
            operation: The operation whose samples to return, or None for all operations. An unknown
                name gives ``{}``.

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

    def add_source(self, source: MeasurementSource) -> None:
        """Add a source of :meth:`measurements`; adding it again has no effect.

        Args:
            source: A function without parameters that returns measurements. It may be called on any
                exporting thread, so it must return quickly and must not block.

        Raises:
            TypeError: If ``source`` is not callable.
        """
        if not callable(source):
            raise TypeError(f"source must be callable, got {type(source).__name__}")
        self._sources.update(lambda sources: sources if source in sources else (*sources, source))

    def remove_source(self, source: MeasurementSource) -> None:
        """Remove a source added by :meth:`add_source`; an unknown source is ignored."""
        self._sources.update(lambda sources: tuple(known for known in sources if known != source))

    def measurements(self) -> list[Measurement]:
        """Return the current measurements from all sources; a source's exceptions are logged."""
        measurements: list[Measurement] = []
        for source in self._sources.get():
            try:
                measurements.extend(source())
            except Exception:
                logger.exception("measurement source %s failed", shown(source))
        return measurements

    def _became_process_recorder(self) -> None:
        """Finish setting up the process-wide recorder. Called once."""

    def __repr__(self) -> str:
        state = "enabled" if self.enabled else "disabled"
        return f"<{type(self).__name__} of {len(self._names())} operations, {state}>"


class _Events:
    """Handles events from the native core: threshold violations and overflows.

    Violations are passed to the callbacks. An overflow, in which a new operation would exceed
    ``max_operations``, is logged, and so is a lack of memory.

    This object holds no reference to the monitor. A monitor is therefore freed without the
    garbage collector, unless its callbacks refer to it.
    """

    def __init__(self) -> None:
        self._callbacks: _core.Atomic[tuple[AlertCallback, ...]] = _core.Atomic(())

    @property
    def callbacks(self) -> tuple[AlertCallback, ...]:
        return self._callbacks.get()

    def add(self, callback: AlertCallback) -> None:
        self._callbacks.update(lambda callbacks: (*callbacks, callback))

    def remove(self, callback: AlertCallback) -> None:
        def without(callbacks: tuple[AlertCallback, ...]) -> tuple[AlertCallback, ...]:
            if callback not in callbacks:
                return callbacks
            at = callbacks.index(callback)
            return (*callbacks[:at], *callbacks[at + 1 :])

        self._callbacks.update(without)

    def violation(
        self,
        operation: str,
        duration: float,
        timestamp: float,
        success: bool,
        metadata: dict[str, Any] | None,
    ) -> None:
        for callback in self._callbacks.get():
            try:
                # Each callback gets its own metric, so that callbacks cannot affect each other.
                metric = PerformanceMetric(
                    operation, duration, timestamp, success, dict(metadata or {})
                )
                callback("threshold_violation", metric)
            except KeyboardInterrupt:
                raise
            except BaseException:
                # Even SystemExit is caught: a callback must not end the monitored program.
                logger.exception(
                    "alert callback %s failed for operation %s", shown(callback), shown(operation)
                )

    def overflow(self, operation: str, max_operations: int) -> None:
        logger.warning(
            "operation %s exceeds max_operations=%d; samples of this and other new operations are "
            "recorded under %s. Put identifiers into metadata, not into operation names",
            shown(operation),
            max_operations,
            shown(_core.OVERFLOW_OPERATION),
        )

    def out_of_memory(self, operation: str, reason: str) -> None:
        logger.warning(
            "operation %s could not be created: %s. Until there is memory, its samples and those "
            "of other new operations are recorded under %s",
            shown(operation),
            reason,
            shown(_core.OVERFLOW_OPERATION),
        )

    def metadata_lost(self, operation: str) -> None:
        logger.warning(
            "there is no memory for the metadata of operation %s; until there is, its samples are "
            "recorded without metadata",
            shown(operation),
        )


_recorders: LiveObjects[Recorder] = LiveObjects()


def _reset_all_in_child() -> None:
    for recorder in _recorders.all():
        try:
            recorder._reset_in_child()  # noqa: SLF001 - a hook for this function
        except Exception:
            logger.exception("recorder %s could not be reset in a forked child", shown(recorder))


os.register_at_fork(after_in_child=_reset_all_in_child)

_make: Callable[[], Recorder] = Recorder


def make_process_recorder_by(make: Callable[[], Recorder]) -> None:
    """Set the function that creates the process-wide recorder when it is first needed."""
    global _make  # noqa: PLW0603 - there is one process
    _make = make


def process_recorder() -> Recorder:
    """Return the process-wide recorder, creating it on the first call. Thread-safe.

    The recorder is the :class:`nanospan.PerformanceMonitor` that
    ``nanospan.get_performance_monitor()`` returns.
    """
    recorder = _core.process_monitor()
    if recorder is None:
        # A signal handler, or another thread, may create one meanwhile; then this one is dropped.
        made = _make()
        recorder = _core.offer_process_monitor(made)
        if recorder is made:
            made._became_process_recorder()  # noqa: SLF001 - defined in this module
    return recorder  # type: ignore[return-value]  # made by `_make`
