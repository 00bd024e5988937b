"""Tests for OpenTelemetry metrics: cumulative and delta exports neither lose nor repeat samples."""

import math
import random

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricsData,
    ResourceMetrics,
)
from opentelemetry.sdk.resources import Resource

from nanospan import PerformanceMonitor
from nanospan.export.otlp.metrics import MetricsBuilder
from nanospan.values.measurements import Measurement

DELTA, CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
DELTAS = {Histogram: DELTA, ObservableCounter: DELTA}


def builder(temporality=None, max_buckets=160):
    return MetricsBuilder(temporality or {}, max_buckets)


def build(builder, monitor):
    """Build a monitor's metrics, encode and decode them as OTLP; return them keyed by name."""
    scope = builder.build(monitor.snapshot(), monitor.measurements())
    encode_metrics(MetricsData([ResourceMetrics(Resource.create(), [scope], "")]))
    return {metric.name: metric for metric in scope.metrics}


def points(metrics, name):
    """Return a metric's data points, keyed by the values of their attributes."""
    if name not in metrics:
        return {}
    return {tuple(p.attributes.values()): p for p in metrics[name].data.data_points}


def durations(metrics):
    return points(metrics, "nanospan.operation.duration")


def bounds(scale, index):
    base = 2.0 ** (2.0**-scale)
    return base**index, base ** (index + 1)


def test_buckets_are_sent_as_recorded(monitor):
    """Count, sum, extremes and zeros are exact, and each duration is in the right bucket."""
    values = [round(1e-6 * 1.01**i, 9) for i in range(100)]
    for value in [0.0, *values]:
        monitor.record_metric("op", value)
    point = durations(build(builder(), monitor))["op", "ok"]
    assert (point.count, point.zero_count, point.scale) == (101, 1, 6)
    assert (point.min, point.max) == (0.0, monitor.snapshot().operations["op"].ok.max)
    assert point.sum == pytest.approx(sum(values))
    assert sum(point.positive.bucket_counts) == 100
    assert not point.negative.bucket_counts
    left = sorted(values)
    for i, count in enumerate(point.positive.bucket_counts):
        low, high = bounds(6, point.positive.offset + i)
        here, left = left[:count], left[count:]
        assert all(low < value <= high for value in here)
    assert not left


def test_wide_histograms_are_made_coarser(monitor):
    """Buckets are merged until the number of non-empty ones is allowed; counts are preserved."""
    for i in range(4000):
        monitor.record_metric("op", 1e-9 * 1.006**i)
    whole = monitor.snapshot().operations["op"].ok
    for most in (160, 20, 2):
        point = durations(build(builder(max_buckets=most), monitor))["op", "ok"]
        filled = [count for count in point.positive.bucket_counts if count]
        assert len(filled) <= most
        assert (point.count, sum(filled), point.sum) == (4000, 4000, whole.sum)
        assert point.scale == whole.with_at_most(most).scale < 6


def test_each_outcome_is_a_series(monitor):
    """The ok and error series exist from the start, so rates include the first sample."""
    monitor.record_metric("a", 0.1)
    monitor.record_metric("b", 0.2, success=False)
    monitor.operation("b").record_cancelled(0.3)
    metrics = build(builder(), monitor)
    assert {key: point.count for key, point in durations(metrics).items()} == {
        ("a", "ok"): 1,
        ("a", "error"): 0,
        ("b", "ok"): 0,
        ("b", "error"): 1,
        ("b", "cancelled"): 1,
    }
    empty = durations(metrics)["a", "error"]
    assert (empty.sum, empty.min, empty.max, list(empty.positive.bucket_counts)) == (
        0,
        None,
        None,
        [],
    )
    assert list(durations(build(builder(DELTAS), monitor))) == [
        ("a", "ok"),
        ("b", "error"),
        ("b", "cancelled"),
    ]


def test_violations_thresholds_and_executions_under_way(monitor):
    """Violations are a counter, thresholds a gauge, open spans an up-down counter."""
    monitor.set_threshold("op", 0.05)
    monitor.record_metric("op", 0.1)
    monitor.record_metric("op", 0.01)
    with monitor.track_operation("other"):
        metrics = build(builder(), monitor)
    violations = metrics["nanospan.operation.violations"]
    assert points(metrics, violations.name)["op",].value == 1
    assert list(points(metrics, violations.name)) == [("op",)]
    assert (violations.unit, violations.data.is_monotonic) == ("{violation}", True)
    assert points(metrics, "nanospan.operation.threshold")["op",].value == 0.05
    in_flight = metrics["nanospan.operation.in_flight"]
    assert {k: p.value for k, p in points(metrics, in_flight.name).items()} == {
        ("op",): 0,
        ("other",): 1,
    }
    assert not in_flight.data.is_monotonic


def test_cumulative_points_keep_their_start(monitor):
    """A cumulative series keeps its start time in every export until the operation is cleared."""
    built = builder()
    monitor.record_metric("op", 0.1)
    first = durations(build(built, monitor))["op", "ok"]
    built.mark_arrived()
    monitor.record_metric("op", 0.1)
    second = durations(build(built, monitor))["op", "ok"]
    assert (first.count, second.count) == (1, 2)
    assert first.start_time_unix_nano == second.start_time_unix_nano <= first.time_unix_nano
    assert first.time_unix_nano < second.time_unix_nano


def test_differences_follow_one_another_without_gap(monitor):
    """Each delta starts when the previous delta ended, and contains only new samples."""
    built = builder(DELTAS)
    monitor.set_threshold("op", 0.05)
    monitor.record_metric("op", 0.1)
    metrics = build(built, monitor)
    first = durations(metrics)["op", "ok"]
    assert metrics["nanospan.operation.duration"].data.aggregation_temporality is DELTA
    built.mark_arrived()
    monitor.record_metric("op", 0.2)
    monitor.record_metric("op", 0.2)
    monitor.record_metric("new", 0.2)
    metrics = build(built, monitor)
    second = durations(metrics)["op", "ok"]
    assert (first.count, second.count, durations(metrics)["new", "ok"].count) == (1, 2, 1)
    assert second.sum == pytest.approx(0.4)
    assert second.start_time_unix_nano == first.time_unix_nano
    assert points(metrics, "nanospan.operation.violations")["op",].value == 2
    # A difference's exact minimum and maximum are unknown, so they are left out.
    assert (second.min, second.max) == (None, None)
    built.mark_arrived()
    assert durations(build(built, monitor)) == {}


def test_a_failed_export_is_part_of_the_next_difference(monitor):
    """After a failed export, the next delta also covers the failed export's period and samples."""
    built = builder(DELTAS)
    monitor.record_metric("op", 0.1)
    build(built, monitor)
    built.mark_arrived()
    start = monitor.snapshot().time
    for _ in range(3):
        monitor.record_metric("op", 0.1)
        lost = durations(build(built, monitor))["op", "ok"]
    assert lost.count == 3
    assert lost.start_time_unix_nano <= start * 1e9
    built.mark_arrived()
    monitor.record_metric("op", 0.1)
    assert durations(build(built, monitor))["op", "ok"].count == 1


def test_clearing_starts_again(monitor):
    """After clearing, deltas contain only later samples, and totals have a new start time."""
    differences, totals = builder(DELTAS), builder()
    for _ in range(5):
        monitor.record_metric("op", 0.1)
    build(differences, monitor)
    differences.mark_arrived()
    before = durations(build(totals, monitor))["op", "ok"]
    monitor.clear_metrics("op")
    monitor.record_metric("op", 0.1)
    assert durations(build(differences, monitor))["op", "ok"].count == 1
    assert durations(build(totals, monitor))["op", "ok"].count == 1
    assert before.count == 5


def test_differences_add_up_to_the_whole(monitor):
    """Even with random export failures, the deltas add up to the recorded buckets."""
    chance = random.Random(5)
    built = builder(DELTAS)
    arrived = {}
    for _ in range(60):
        for _ in range(chance.randrange(20)):
            monitor.record_metric("op", chance.lognormvariate(-7, 0.5), chance.random() < 0.9)
        metrics = durations(build(built, monitor))
        if chance.random() < 0.6:
            built.mark_arrived()
            for (_, outcome), point in metrics.items():
                assert point.scale == 6
                for i, count in enumerate(point.positive.bucket_counts):
                    key = outcome, point.positive.offset + i
                    arrived[key] = arrived.get(key, 0) + count
    metrics = durations(build(built, monitor))
    for (_, outcome), point in metrics.items():
        for i, count in enumerate(point.positive.bucket_counts):
            key = outcome, point.positive.offset + i
            arrived[key] = arrived.get(key, 0) + count
    operation = monitor.snapshot().operations["op"]
    recorded = {
        (outcome, index): count
        for outcome in ("ok", "error")
        for index, count in getattr(operation, outcome).buckets()
    }
    assert {key: count for key, count in arrived.items() if count} == recorded


def measured(monitor, *measurements):
    current = list(measurements)
    monitor.add_source(lambda: current)
    return current


def test_measurements_keep_their_names_units_and_attributes(monitor):
    """Measurements become one metric per name, with unchanged units and attributes."""
    waits = PerformanceMonitor()
    waits.record_metric("wait", 0.25)
    state = "db.client.connection.state"
    measured(
        monitor,
        Measurement(
            "db.client.connection.count", "up_down_counter", 3, "{connection}", "d", {state: "idle"}
        ),
        Measurement(
            "db.client.connection.count", "up_down_counter", 2, "{connection}", "d", {state: "used"}
        ),
        Measurement("db.client.connection.timeouts", "counter", 7, "{timeout}"),
        Measurement("load", "gauge", 0.5, "1"),
        Measurement(
            "db.client.connection.wait_time", "histogram", waits.operation("wait").snapshot(), "s"
        ),
    )
    metrics = build(builder(), monitor)
    connections = metrics["db.client.connection.count"]
    assert (connections.unit, connections.description) == ("{connection}", "d")
    assert [(p.attributes, p.value) for p in connections.data.data_points] == [
        ({state: "idle"}, 3),
        ({state: "used"}, 2),
    ]
    assert not connections.data.is_monotonic
    assert metrics["db.client.connection.timeouts"].data.is_monotonic
    assert points(metrics, "load")[()].value == 0.5
    assert points(metrics, "db.client.connection.wait_time")[()].max == 0.25


def test_measurements_are_made_sendable(monitor):
    """Huge integers and lone surrogates are converted so that the export succeeds."""
    measured(
        monitor,
        Measurement("lone \ud800", "gauge", 2**70, "\ud800", "\ud800", {"key": 1}),
        Measurement("whole", "counter", 2**63 - 1),
    )
    metrics = build(builder(), monitor)
    odd = metrics[r"lone \ud800"]
    assert (odd.unit, odd.description) == (r"\ud800",) * 2
    [point] = odd.data.data_points
    assert (point.value, type(point.value), point.attributes) == (2.0**70, float, {"key": "1"})
    assert points(metrics, "whole")[()].value == 2**63 - 1
    given = ResourceMetrics(
        Resource({}), [builder().build(monitor.snapshot(), monitor.measurements())], ""
    )
    assert encode_metrics(MetricsData([given])).SerializeToString()


def test_measured_counters_and_histograms_have_differences(monitor):
    """Deltas hold only what is new, or everything after a source restarts; gauges are unchanged."""
    waits = PerformanceMonitor()

    def set_to(count, gauge, *durations):
        for duration in durations:
            waits.record_metric("wait", duration)
        current[:] = [
            Measurement("count", "counter", count),
            Measurement("gauge", "gauge", gauge),
            Measurement("wait", "histogram", waits.operation("wait").snapshot()),
        ]

    def values():
        metrics = build(built, monitor)
        built.mark_arrived()
        return (
            points(metrics, "count")[()].value,
            points(metrics, "gauge")[()].value,
            points(metrics, "wait")[()].count,
        )

    current, built = measured(monitor), builder(DELTAS)
    set_to(5, 1.0, 0.1, 0.1)
    assert values() == (5, 1.0, 2)
    set_to(8, 2.0, 0.1)
    assert values() == (3, 2.0, 1)
    waits.clear_metrics()
    set_to(2, 3.0, 0.2)
    assert values() == (2, 3.0, 1)


@pytest.mark.parametrize(
    "name", ['quote " back \\ slash', "new\nline", "naïve 漢字 🦀", "lone \ud800"]
)
def test_any_name_can_be_sent(monitor, name):
    """An operation's name is sent unchanged, except that lone surrogates are escaped."""
    monitor.record_metric(name, 0.1)
    monitor.record_metric("other", 0.1)
    names = {operation for operation, _ in durations(build(builder(), monitor))}
    assert names == {name.replace("\ud800", r"\ud800"), "other"}


def test_a_measurement_that_is_reported_twice_is_sent_once(monitor):
    """Of measurements with the same name and attributes, only the first is sent."""
    attributes = {"shard": "1"}
    monitor.add_source(
        lambda: [
            Measurement("hits", "counter", 2, attributes=attributes),
            Measurement("hits", "counter", 3, attributes=attributes),
        ]
    )
    [point] = build(builder(), monitor)["hits"].data.data_points
    assert point.value == 2


def test_an_empty_monitor_sends_no_metrics(monitor):
    """Without operations or measurements, no metrics are built."""
    assert build(builder(), monitor) == {}
    assert math.isfinite(monitor.snapshot().time)
