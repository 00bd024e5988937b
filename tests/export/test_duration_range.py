"""Tests that every output of the shortest to the longest duration can be read back.

Properties: JSON lines, CSV, Parquet and baselines give back each duration bit for bit; snapshots,
Prometheus' formats and OTLP give back counts, sums and extremes; a trace and a report can be
written and parsed.
"""

from __future__ import annotations

import csv
import io
import json
import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics
from opentelemetry.sdk.resources import Resource
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from pyarrow import parquet

from nanospan import MonitorSnapshot, PerformanceMonitor
from nanospan._core import MAX_DURATION, OUTCOMES
from nanospan.export.otlp.metrics import MetricsBuilder
from nanospan.export.prometheus import Exposition
from nanospan.export.recording_files import RecordingFileError, read_recording
from nanospan.export.report import write_report
from nanospan.export.sample_files import read_samples
from nanospan.export.summary import summarise
from nanospan.export.write import write
from nanospan.values.baselines import Baseline
from nanospan.values.data_files import DataFileError
from nanospan.values.recordings import record_of
from nanospan.values.units import duration_text

DURATIONS = st.one_of(
    st.sampled_from([0.0, 5e-324, 4e-10, 5e-10, 1e-9, 0.1, 1.0, 2.0**34, MAX_DURATION]),
    st.floats(0, MAX_DURATION),
    st.floats(-25, math.log10(MAX_DURATION)).map(lambda exponent: min(10**exponent, MAX_DURATION)),
    st.integers(0, 2**64 - 1).map(lambda nanoseconds: nanoseconds / 1e9),
)
SAMPLES = st.lists(st.tuples(DURATIONS, st.sampled_from(OUTCOMES)), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder that all examples of a test share."""
    return tmp_path_factory.mktemp("range")


def monitor_with(samples):
    monitor = PerformanceMonitor(thresholds={"op": samples[0][0]})
    operation = monitor.operation("op")
    for duration, outcome in samples:
        if outcome == "cancelled":
            operation.record_cancelled(duration)
        else:
            operation.record(duration, outcome == "ok")
    return monitor


def written(monitor, format_, content="samples"):
    file = io.BytesIO()
    write(monitor, file, format_, content)
    return file.getvalue()


@given(samples=SAMPLES)
@settings(max_examples=50)
def test_samples_are_read_back_bit_for_bit(folder, samples):
    """JSON lines, CSV, Parquet and baselines hold exactly the recorded durations."""
    monitor = monitor_with(samples)
    expected = [duration for duration, _ in samples]

    path = folder / "samples.jsonl"
    path.write_bytes(written(monitor, "jsonl"))
    [read] = read_recording(path).operations
    assert memoryview(read.samples().durations).cast("d").tolist() == expected
    whole = monitor.snapshot().operations["op"]
    assert read.histogram == whole.all
    assert (read.error_count, read.cancelled_count) == (whole.error.count, whole.cancelled.count)

    rows = csv.DictReader(io.StringIO(written(monitor, "csv").decode(), newline=""))
    assert [float(row["duration"]) for row in rows] == expected

    table = parquet.read_table(pa.BufferReader(written(monitor, "parquet")))
    assert table["duration"].to_pylist() == expected

    path = folder / "baseline.json"
    monitor.baseline().save(path)
    loaded = Baseline.load(path).operations["op"]
    assert loaded.samples.tolist() == expected
    assert loaded.histogram == whole.all
    assert read_samples(path).operations["op"].tolist() == expected


@given(samples=SAMPLES)
@settings(max_examples=50)
def test_summaries_are_read_back(samples):
    """Summaries in each format and snapshots as bytes and JSON hold exactly the recorded sums."""
    monitor = monitor_with(samples)
    [summary] = [summarise(each) for each in record_of(monitor).operations]
    exact = {
        name: getattr(summary, name)
        for name in ("sum", "mean", "min", "p50", "p90", "p95", "p99", "p999", "max", "threshold")
    }
    assert all(math.isfinite(value) for value in exact.values())
    row = json.loads(written(monitor, "jsonl", "summaries"))
    assert {name: row[name] for name in exact} == exact
    text = written(monitor, "csv", "summaries").decode()
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    assert {name: float(row[name]) for name in exact} == exact
    table = parquet.read_table(pa.BufferReader(written(monitor, "parquet", "summaries")))
    [row] = table.to_pylist()
    assert {name: row[name] for name in exact} == exact

    snapshot = monitor.snapshot()
    assert MonitorSnapshot.from_bytes(snapshot.to_bytes()) == snapshot
    json.loads(json.dumps(snapshot.to_dict(), allow_nan=False))


@given(samples=SAMPLES)
@settings(max_examples=50)
def test_prometheus_and_opentelemetry_accept_them(samples):
    """Both text formats and OTLP hold the recorded counts, sums and extremes of each outcome."""
    monitor = monitor_with(samples)
    snapshot = monitor.snapshot()
    recorded = {
        outcome: part
        for outcome in OUTCOMES
        if (part := getattr(snapshot.operations["op"], outcome)).count
    }
    for form, parse in (("text", parse_text), ("openmetrics", parse_openmetrics)):
        rows = [
            s for family in parse(Exposition(monitor).render(form).decode()) for s in family.samples
        ]
        for outcome, part in recorded.items():
            series = {
                (
                    row.name.removeprefix("nanospan_operation_duration_seconds"),
                    row.labels.get("le"),
                ): (row.value)
                for row in rows
                if row.labels.get("outcome") == outcome
            }
            assert series["_sum", None] == part.sum
            assert series["_count", None] == series["_bucket", "+Inf"] == part.count
        [threshold] = [r.value for r in rows if r.name == "nanospan_operation_threshold_seconds"]
        assert threshold == samples[0][0]
    assert Exposition(monitor).render("protobuf")

    scope = MetricsBuilder({}, 160).build(snapshot, [])
    encode_metrics(MetricsData([ResourceMetrics(Resource.create(), [scope], "")]))
    [metric] = [m for m in scope.metrics if m.name == "nanospan.operation.duration"]
    points = {point.attributes["outcome"]: point for point in metric.data.data_points}
    for outcome, part in recorded.items():
        point = points[outcome]
        assert (point.count, point.sum, point.min, point.max) == (
            part.count,
            part.sum,
            part.min,
            part.max,
        )
        assert point.zero_count + sum(point.positive.bucket_counts) == part.count


@given(samples=SAMPLES)
@settings(max_examples=50)
def test_traces_and_reports_can_be_drawn(samples):
    """A trace has a finite length for each sample, and a report shows the extremes as text."""
    monitor = monitor_with(samples)
    events = json.loads(written(monitor, "trace"))["traceEvents"]
    lengths = [event["dur"] for event in events if event.get("ph") == "X"]
    assert len(lengths) == len(samples)
    assert all(0 <= length <= MAX_DURATION * 1e6 for length in lengths)

    file = io.BytesIO()
    write_report(monitor, file, comparisons=monitor.compare(monitor.baseline()))
    page = file.getvalue().decode()
    assert duration_text(monitor.snapshot().operations["op"].all.max) in page
    assert not {"nan", "inf", "NaN", "Infinity"} & set(page.replace('"', " ").split())


@pytest.mark.parametrize("duration", ["18446744073.71", "1e19", "1e308", "1e999"])
def test_files_with_longer_durations_are_rejected(tmp_path, duration):
    """A duration above 584 years in a file is an error that states the place and the range."""
    path = tmp_path / "file.json"
    path.write_text(f'{{"operation": "op", "duration": {duration}}}\n')
    with pytest.raises(RecordingFileError, match=r"line 1: 'duration' must .* 0 to 18446744073\.7"):
        read_recording(path)
    rounds = f'{{"fullname": "op", "stats": {{"data": [0.1, {duration}]}}}}'
    path.write_text(f'{{"benchmarks": [{rounds}]}}')
    with pytest.raises(DataFileError, match=r"data\[1\]: expected a (number of seconds|finite)"):
        read_samples(path)
    with pytest.raises(ValueError, match="must be between 0 and 18446744073"):
        Baseline.from_samples({"op": [float(duration)]})
