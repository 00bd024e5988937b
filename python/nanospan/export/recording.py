"""What is exported: operations with their histograms and samples, wherever they come from."""

from __future__ import annotations

import functools
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from nanospan._core import MonitorSnapshot, Snapshot
from nanospan.monitor import PerformanceMonitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

OUTCOMES = ("ok", "error", "cancelled")
"""The outcomes, each at the index that is its number in :attr:`Samples.outcomes`."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples as columns of native numbers, oldest first, as `numpy.frombuffer` reads them.

    Attributes:
        durations: How long each took: ``float64`` seconds.
        ends: When each ended: ``uint64`` nanoseconds of Unix time; `None` where that is not known.
        outcomes: How each ended: ``uint8``, an index of :data:`OUTCOMES`; `None` where not known.
        metadata: What was attached to each, which must not be changed; empty if nothing was to any.
    """

    durations: bytes
    ends: bytes | None = None
    outcomes: bytes | None = None
    metadata: Sequence[Mapping[Any, Any] | None] = ()

    def __len__(self) -> int:
        return len(self.durations) // 8

    @property
    def columns(self) -> tuple[bytes, bytes, bytes] | None:
        """Ends, durations and outcomes, if all are known."""
        if self.ends is None or self.outcomes is None:
            return None
        return self.ends, self.durations, self.outcomes

    def take(self, rows: Sequence[int]) -> Samples:
        """Return the samples of some rows, which ascend."""
        return Samples(
            _take("d", self.durations, rows),
            None if self.ends is None else _take("Q", self.ends, rows),
            None if self.outcomes is None else _take("B", self.outcomes, rows),
            [self.metadata[row] for row in rows] if self.metadata else (),
        )

    def chunks(self, rows: int) -> Iterator[Samples]:
        """Yield the samples in portions of at most `rows`."""
        for start in range(0, len(self), rows):
            stop = start + rows
            yield Samples(
                self.durations[start * 8 : stop * 8],
                None if self.ends is None else self.ends[start * 8 : stop * 8],
                None if self.outcomes is None else self.outcomes[start:stop],
                self.metadata[start:stop],
            )


def _take(kind: Literal["B", "Q", "d"], column: bytes, rows: Sequence[int]) -> bytes:
    values = array(kind, column)
    return array(kind, [values[row] for row in rows]).tobytes()


@dataclass(frozen=True, slots=True)
class RecordedOperation:
    """One operation of a recording.

    Attributes:
        operation: Its name.
        histogram: The durations of all outcomes since start or the last clear.
        samples: Gives the samples that are at hand, of which there may be none.
        error_count: Failed samples since start; `None` where that is not known, as for the next.
        cancelled_count: Cancelled samples since start.
        violation_count: Samples since start that were over the threshold.
        threshold: Seconds, if there is one.
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
    """What a monitor saw up to one moment.

    Attributes:
        time: That moment, as Unix time in seconds.
        operations: In the order first seen.
    """

    time: float
    operations: Sequence[RecordedOperation]


Source: TypeAlias = PerformanceMonitor | MonitorSnapshot | Recording
"""What can be exported: a monitor with its windows, a snapshot of one, or a recording as such."""


def record_of(source: Source) -> Recording:
    """Return the recording of a source.

    A monitor's histograms are copied now, the samples of an operation when they are asked for: what
    is recorded in between is in the samples only. Recording is never held up.

    Raises:
        TypeError: If `source` is none.
    """
    if isinstance(source, Recording):
        return source
    if isinstance(source, MonitorSnapshot):
        return _recording(source, lambda _: None)
    if isinstance(source, PerformanceMonitor):
        return _recording(source.snapshot(), functools.partial(window, source))
    raise TypeError(
        f"a PerformanceMonitor, a MonitorSnapshot or a Recording is exported, got {source!r}"
    )


def window(monitor: PerformanceMonitor, operation: str) -> Samples:
    """Return the samples in the window of an operation that was recorded."""
    ends, durations, outcomes, metadata = monitor.operation(operation)._columns()  # noqa: SLF001
    return Samples(durations, ends, outcomes, metadata)


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
