"""Recordings: operations with their histograms and samples, from any source."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from nanospan._core import Monitor, MonitorSnapshot, Samples, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True, slots=True)
class RecordedOperation:
    """An operation of a recording.

    Attributes:
        operation: The operation's name.
        histogram: The durations of all outcomes since start or the last clear.
        samples: Returns the available samples, or None if the source has no samples.
        error_count: The number of failed samples since start; None if unknown, like the next two.
        cancelled_count: The number of cancelled samples since start.
        violation_count: The number of samples over the threshold since start.
        threshold: The threshold in seconds, or None.
    """

    operation: str
    histogram: Snapshot
    samples: Callable[[], Samples | None]
    error_count: int | None = None
    cancelled_count: int | None = None
    violation_count: int | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """The operations that a monitor had recorded at one moment.

    Attributes:
        time: That moment, as Unix time in seconds.
        operations: The operations, in the order first seen.
    """

    time: float
    operations: Sequence[RecordedOperation]


Recordable: TypeAlias = Monitor | MonitorSnapshot | Recording
"""A source of exports: a monitor with its windows, a snapshot of one, or a recording."""


def record_of(source: Recordable) -> Recording:
    """Return ``source`` as a recording.

    A monitor's histograms are copied now, and an operation's samples when they are requested, so
    these may include later samples. Recording is never blocked.

    Raises:
        TypeError: If ``source`` is not a monitor, snapshot or recording.
    """
    if isinstance(source, Recording):
        return source
    if isinstance(source, MonitorSnapshot):
        return _recording(source, lambda _: None)
    if isinstance(source, Monitor):
        return _recording(source.snapshot(), functools.partial(window, source))
    raise TypeError(
        "source must be a PerformanceMonitor, MonitorSnapshot or Recording, "
        f"got {type(source).__name__}"
    )


def window(monitor: Monitor, operation: str) -> Samples:
    """Return the samples in the window of an operation."""
    return monitor.operation(operation)._columns()  # noqa: SLF001 - made for this


def histogram_of(operation: str, durations: Iterable[float]) -> Snapshot:
    """Return the histogram of durations that were measured elsewhere.

    Args:
        operation: The name to give in errors.
        durations: The durations, in seconds.

    Raises:
        TypeError: If ``operation`` is not a str, or a duration not a number.
        ValueError: If a duration is negative or not finite, or ``operation`` empty.
    """
    counted = Monitor(1, 1, None).operation(operation)
    for duration in durations:
        counted.record(duration)
    return counted.snapshot()


def _recording(snapshot: MonitorSnapshot, samples_of: Callable[[str], Samples | None]) -> Recording:
    return Recording(
        snapshot.time,
        [
            RecordedOperation(
                operation=name,
                histogram=operation.all,
                samples=functools.partial(samples_of, name),
                error_count=operation.error.count,
                cancelled_count=operation.cancelled.count,
                violation_count=operation.violation_count,
                threshold=operation.threshold,
            )
            for name, operation in snapshot.operations.items()
        ],
    )
