"""Recordings: the histograms and samples of operations, from a monitor, snapshot or file."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from nanospan._core import Monitor, MonitorSnapshot, Samples, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True, slots=True)
class RecordedOperation:
    """An operation in a recording.

    The histogram and the counts cover the time since the operation was first recorded or last
    cleared.

    Attributes:
        operation: The operation's name.
        histogram: The durations of all samples, including failed and cancelled ones.
        samples: A function that returns the available samples; it returns None if the source has
            no individual samples.
        error_count: The number of failed samples, or None if unknown.
        cancelled_count: The number of cancelled samples, or None if unknown.
        violation_count: The number of samples over the threshold, or None if unknown.
        threshold: The threshold in seconds, or None if no threshold is set.
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
    """The operations that a monitor had recorded at one point in time.

    Attributes:
        time: The Unix time of the recording, in seconds.
        operations: The operations, in the order in which they were first seen.
    """

    time: float
    operations: Sequence[RecordedOperation]


Recordable: TypeAlias = Monitor | MonitorSnapshot | Recording
"""Anything that can be exported: a monitor, a monitor's snapshot, or a recording."""


def record_of(source: Recordable) -> Recording:
    """Convert ``source`` to a recording.

    A monitor's histograms are copied immediately. The samples of an operation are copied only when
    they are requested, so they may include samples recorded after this call. Recording is
    never blocked.

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
    """Return the samples in an operation's window, oldest first."""
    return monitor.operation(operation)._columns()  # noqa: SLF001 - it exists for this function


def histogram_of(operation: str, durations: Iterable[float]) -> Snapshot:
    """Build a histogram of durations that were measured without a monitor.

    Args:
        operation: The operation's name, for error messages.
        durations: The durations, in seconds.

    Raises:
        TypeError: If ``operation`` is not a str, or a duration is not a number.
        ValueError: If a duration is negative, longer than 584 years or NaN, or ``operation`` is
            empty.
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
