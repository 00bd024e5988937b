"""Convert snapshots and measurements to OpenTelemetry's data model.

Operations are exported as these metrics, all of which have the attribute ``operation``:

- ``nanospan.operation.duration`` (``s``): an exponential histogram for each ``outcome``: ``ok``,
  ``error`` or ``cancelled``;
- ``nanospan.operation.violations`` (``{violation}``): a counter, for operations with a threshold;
- ``nanospan.operation.threshold`` (``s``): a gauge, for operations with a threshold;
- ``nanospan.operation.in_flight`` (``{execution}``): an up-down counter.

Measurements keep their names, units and attributes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    DataT,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Metric,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from nanospan._core import OUTCOMES, Snapshot, __version__, escape_name
from nanospan.export.otlp.points import histogram_point, nanoseconds, sendable, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nanospan._core import MonitorSnapshot, OperationSnapshot
    from nanospan.values.measurements import Measurement

DELTA = AggregationTemporality.DELTA
CUMULATIVE = AggregationTemporality.CUMULATIVE

SAME_START = 100_000_000
"""Maximum difference at which two readings of a start time count as equal, in nanoseconds.

The readings differ when the wall clock is adjusted.
"""

UNKNOWN = 0
"""OTLP's value for an unknown start time."""


class MetricsBuilder:
    """Builds OpenTelemetry metrics from snapshots.

    The metrics contain totals (cumulative temporality) or the differences since the last successful
    export (delta temporality). A builder is not thread-safe.

    Args:
        temporality: The receiver's preferred temporality, keyed by instrument class; classes that
            are missing are cumulative.
        max_buckets: Maximum number of non-empty buckets in a histogram.
    """

    def __init__(
        self, temporality: Mapping[type, AggregationTemporality], max_buckets: int
    ) -> None:
        self._histograms = temporality.get(Histogram, CUMULATIVE)
        # Our counters are read at export time, as OpenTelemetry's observable counters are.
        self._counters = temporality.get(ObservableCounter, CUMULATIVE)
        self._max_buckets = max_buckets
        self._starts: dict[str, int] = {}
        self._arrived: _State | None = None
        self._built: _State | None = None

    def build(self, snapshot: MonitorSnapshot, measurements: Sequence[Measurement]) -> ScopeMetrics:
        """Convert a snapshot and measurements to metrics that are ready to send."""
        self._built = _State(snapshot, measurements)
        metrics = [*self._operations(snapshot), *self._measured(snapshot, measurements)]
        # Some receivers reject a metric without data points.
        metrics = [metric for metric in metrics if metric.data.data_points]
        return ScopeMetrics(InstrumentationScope("nanospan", __version__), metrics, schema_url="")

    def mark_arrived(self) -> None:
        """Record that the latest metrics have arrived; later differences will start from them."""
        self._arrived = self._built

    def _operations(self, snapshot: MonitorSnapshot) -> Iterator[Metric]:
        recent = snapshot.since(self._arrived.snapshot) if self._arrived else snapshot
        time = nanoseconds(snapshot.time)

        def numbers(
            value: Callable[[OperationSnapshot], float | None],
            temporality: AggregationTemporality = CUMULATIVE,
        ) -> list[NumberDataPoint]:
            source = recent if temporality is DELTA else snapshot
            return [
                NumberDataPoint(
                    {"operation": escape_name(name)},
                    self._start(operation, temporality),
                    time,
                    number,
                )
                for name, operation in source.operations.items()
                if (number := value(operation)) is not None
            ]

        durations = self._durations(recent if self._histograms is DELTA else snapshot, time)
        yield Metric(
            "nanospan.operation.duration",
            "How long executions of an operation took.",
            "s",
            ExponentialHistogram(durations, self._histograms),
        )
        yield Metric(
            "nanospan.operation.violations",
            "Executions that took longer than the operation's threshold.",
            "{violation}",
            Sum(numbers(_violations, self._counters), self._counters, is_monotonic=True),
        )
        yield Metric(
            "nanospan.operation.threshold",
            "The duration over which an execution is a violation.",
            "s",
            Gauge(numbers(lambda operation: operation.threshold)),
        )
        in_flight = numbers(lambda operation: operation.in_flight)
        yield Metric(
            "nanospan.operation.in_flight",
            "Executions under way.",
            "{execution}",
            Sum(in_flight, CUMULATIVE, is_monotonic=False),
        )

    def _durations(
        self, snapshot: MonitorSnapshot, time: int
    ) -> list[ExponentialHistogramDataPoint]:
        return [
            histogram_point(
                histogram,
                {"operation": escape_name(name), "outcome": outcome},
                (self._start(operation, self._histograms), time),
                self._max_buckets,
                knows_extremes=self._histograms is CUMULATIVE,
            )
            for name, operation in snapshot.operations.items()
            for outcome in OUTCOMES
            if self._is_sent(outcome, histogram := getattr(operation, outcome))
        ]

    def _is_sent(self, outcome: str, histogram: Snapshot) -> bool:
        # A rate ignores a series' first value. Sending zeros lets a rate include the first error.
        # Differences need no zeros, and cancellations are rarely monitored.
        return histogram.count > 0 or (self._histograms is CUMULATIVE and outcome != "cancelled")

    def _start(self, operation: OperationSnapshot, temporality: AggregationTemporality) -> int:
        """Return the time at which an operation's counts begin, in Unix nanoseconds.

        For cumulative data, an adjustment of the wall clock does not change this time.
        """
        start = nanoseconds(operation.created)
        if temporality is DELTA:
            return start
        known = self._starts.get(operation.operation, UNKNOWN)
        if abs(start - known) >= SAME_START:
            known = self._starts[operation.operation] = start
        return known

    def _measured(
        self, snapshot: MonitorSnapshot, measurements: Sequence[Measurement]
    ) -> Iterator[Metric]:
        time = nanoseconds(snapshot.time)
        families: dict[tuple[str, str], dict[object, Measurement]] = {}
        for measurement in measurements:
            # Receivers reject two points with the same attributes, so only the first is sent.
            family = families.setdefault((measurement.name, measurement.kind), {})
            family.setdefault(_key(measurement), measurement)
        for (name, kind), family in families.items():
            distinct = list(family.values())
            yield Metric(
                escape_name(name),
                escape_name(distinct[0].description),
                escape_name(distinct[0].unit),
                self._data(kind, distinct, time),
            )

    def _data(self, kind: str, family: Sequence[Measurement], time: int) -> DataT:
        if kind == "histogram":
            histograms = [self._measured_histogram(measurement, time) for measurement in family]
            return ExponentialHistogram(histograms, self._histograms)
        temporality = self._counters if kind == "counter" else CUMULATIVE
        points = [self._measured_number(measurement, temporality, time) for measurement in family]
        if kind == "gauge":
            return Gauge(points)
        return Sum(points, temporality, is_monotonic=kind == "counter")

    def _measured_histogram(
        self, measurement: Measurement, time: int
    ) -> ExponentialHistogramDataPoint:
        value = measurement.value
        assert isinstance(value, Snapshot)  # noqa: S101 - Measurement checks it
        before, start = self._before(measurement, self._histograms)
        if isinstance(before, Snapshot):
            with contextlib.suppress(ValueError):  # raised if the source has restarted
                value = value.since(before)
        return histogram_point(
            value,
            texts(measurement.attributes),
            (start, time),
            self._max_buckets,
            knows_extremes=self._histograms is CUMULATIVE,
        )

    def _measured_number(
        self, measurement: Measurement, temporality: AggregationTemporality, time: int
    ) -> NumberDataPoint:
        value = measurement.value
        assert not isinstance(value, Snapshot)  # noqa: S101 - Measurement checks it
        before, start = self._before(measurement, temporality)
        # If the value has fallen, the source has restarted from zero.
        if isinstance(before, (int, float)) and before <= value:
            value -= before
        return NumberDataPoint(texts(measurement.attributes), start, time, sendable(value))

    def _before(
        self, measurement: Measurement, temporality: AggregationTemporality
    ) -> tuple[float | Snapshot | None, int]:
        """Return a measurement's value in the last successful export, and that export's time.

        The time is in Unix nanoseconds. For cumulative data, or if no export has succeeded yet,
        return None and ``UNKNOWN``.
        """
        if temporality is CUMULATIVE or self._arrived is None:
            return None, UNKNOWN
        start = nanoseconds(self._arrived.snapshot.time)
        return self._arrived.measured.get(_key(measurement)), start


class _State:
    """The data of one export; a later export subtracts it to compute differences."""

    def __init__(self, snapshot: MonitorSnapshot, measurements: Sequence[Measurement]) -> None:
        self.snapshot = snapshot
        self.measured: dict[object, float | Snapshot] = {}
        for measurement in measurements:
            self.measured.setdefault(_key(measurement), measurement.value)


def _key(measurement: Measurement) -> object:
    return measurement.name, frozenset(measurement.attributes.items())


def _violations(operation: OperationSnapshot) -> int | None:
    # An operation without a threshold may still have violations of an earlier threshold.
    is_possible = operation.threshold is not None or operation.violation_count > 0
    return operation.violation_count if is_possible else None
