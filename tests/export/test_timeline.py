"""Tests for timelines: valid trace events, one track per operation, and no overlapping spans."""

import io
import itertools
import json
import math
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanospan import PerformanceMonitor
from nanospan._core import MAX_DURATION
from nanospan.export.timeline import NoTimesError
from nanospan.export.write import write

COLOURS = {"good", "bad", "terrible", "grey"}  # from the format's reserved names


def events_of(source):
    """Return the events of the source's timeline after checking them against the format's rules."""
    file = io.BytesIO()
    write(source, file, "trace")
    trace = json.loads(file.getvalue().decode("utf-8"))
    assert trace["displayTimeUnit"] in {"ms", "ns"}
    for event in trace["traceEvents"]:
        assert isinstance(event["name"], str)
        assert event["ph"] in {"X", "M"}
        assert type(event["pid"]) is int
        assert type(event["tid"]) is int
        assert isinstance(event["args"], dict)
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
            assert event["cname"] in COLOURS
            assert event["cat"]
        else:
            assert event["name"] in {"process_name", "thread_name", "thread_sort_index"}
    return trace["traceEvents"]


def names_of(events, kind="thread_name"):
    return {e["tid"]: e["args"]["name"] for e in events if e["name"] == kind}


def spans_of(events):
    return [event for event in events if event["ph"] == "X"]


def assert_no_overlap(spans):
    """Assert that each span ends before the next span on the same thread begins."""
    by_thread = {}
    for span in spans:
        by_thread.setdefault(span["tid"], []).append(span)
    for of_thread in by_thread.values():
        of_thread.sort(key=lambda span: (span["ts"], span["dur"]))
        for before, after in itertools.pairwise(of_thread):
            assert before["ts"] + before["dur"] <= after["ts"] + 1e-6


def test_every_operation_has_a_track_and_every_sample_a_span(recorded):
    """Each operation has a named track; each sample has a span with its outcome and metadata."""
    recorded.clear_metrics("parse")
    events = events_of(recorded)
    assert set(names_of(events).values()) >= {"query"}
    assert names_of(events, "process_name") == {0: "operations"}
    by_outcome = {}
    for span in spans_of(events):
        assert span["args"]["operation"] == "query"
        by_outcome.setdefault(span["args"]["outcome"], []).append(span)
    assert {outcome: len(spans) for outcome, spans in by_outcome.items()} == {
        "ok": 2,
        "error": 1,
        "cancelled": 1,
    }
    [error], [cancelled] = by_outcome["error"], by_outcome["cancelled"]
    assert (error["name"], error["cname"]) == ("query: error", "terrible")
    assert error["args"]["metadata"] == {"error": "boom"}
    assert (cancelled["name"], cancelled["cname"]) == ("query: cancelled", "grey")
    [slow] = [span for span in by_outcome["ok"] if "violation" in span["cat"]]
    assert (slow["name"], slow["cname"]) == ("query: over 100 ms", "bad")
    assert slow["args"]["violation"] is True
    assert slow["args"]["threshold"] == 0.1
    assert slow["args"]["metadata"] == {"user": 7, "tags": ["a", "b"]}
    assert slow["dur"] == 200_000.0


def test_consecutive_executions_share_one_lane():
    """Executions that run one after another share a single lane of the timeline."""
    monitor = PerformanceMonitor()
    for _ in range(200):
        with monitor.track_operation("step"):
            pass
    events = events_of(monitor)
    assert list(names_of(events).values()) == ["step"]
    assert_no_overlap(spans_of(events))


def test_overlapping_executions_are_on_separate_lanes():
    """Executions that overlap are on separate lanes, all named after the operation."""
    monitor = PerformanceMonitor()
    inside = threading.Barrier(3)

    def run():
        with monitor.track_operation("work"):
            inside.wait(60)
            time.sleep(0.001)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = events_of(monitor)
    assert sorted(names_of(events).values()) == ["work", "work (2)", "work (3)"]
    assert_no_overlap(spans_of(events))


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.lists(st.floats(0, 1e-3), min_size=1, max_size=20),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=60)
def test_no_two_spans_of_a_thread_overlap(durations):
    """Whatever the durations and names, spans on the same thread do not overlap."""
    monitor = PerformanceMonitor()
    for operation, seconds in durations.items():
        for each in seconds:
            monitor.record_metric(operation, each)
    events = events_of(monitor)
    spans = spans_of(events)
    assert len(spans) == sum(map(len, durations.values()))
    assert_no_overlap(spans)
    operations = {}
    for span in spans:
        assert (
            operations.setdefault(span["tid"], span["args"]["operation"])
            == (span["args"]["operation"])
        )


def test_starts_and_durations_are_those_recorded():
    """A span starts at the sample's end minus its duration, relative to the earliest start."""
    monitor = PerformanceMonitor()
    for seconds in (0.5, 0.25, 0.125):
        monitor.record_metric("op", seconds)
    samples = monitor.export_metrics("op")["op"]
    first = min(sample["timestamp"] - sample["duration"] for sample in samples)
    spans = sorted(spans_of(events_of(monitor)), key=lambda span: -span["dur"])
    for span, sample in zip(spans, samples, strict=True):
        assert span["dur"] == sample["duration"] * 1e6
        begin = sample["timestamp"] - sample["duration"] - first
        assert span["ts"] / 1e6 == pytest.approx(begin, abs=1e-6)


def test_leases_are_a_group_with_a_track_for_each_pool():
    """The pool manager's leases have one track per pool, grouped separately from operations."""
    monitor = PerformanceMonitor()
    monitor.record_metric("query", 0.01)
    for pool in ("postgresql://a", "postgresql://b", "postgresql://a"):
        monitor.record_metric("connection_lease", 0.0, True, {"pool": pool})
    events = events_of(monitor)
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert processes == {1: "operations", 2: "connection pools"}
    leases = [span for span in spans_of(events) if span["pid"] == 2]
    assert sorted(span["name"] for span in leases) == [
        "postgresql://a",
        "postgresql://a",
        "postgresql://b",
    ]
    assert all(span["cat"] == "lease,ok" for span in leases)
    assert len({span["tid"] for span in spans_of(events)}) == 3


def test_absurd_durations_are_drawn_from_the_epoch():
    """A sample that would start before the Unix epoch is drawn from the epoch."""
    monitor = PerformanceMonitor()
    monitor.record_metric("op", MAX_DURATION)
    [span] = spans_of(events_of(monitor))
    assert math.isfinite(span["dur"])


@pytest.mark.parametrize("empty", ["monitor", "snapshot"])
def test_nothing_to_draw_is_a_clear_error(empty, recorded, tmp_path):
    """A source without samples raises an error that says what is needed; no file is left."""
    source = PerformanceMonitor() if empty == "monitor" else recorded.snapshot()
    with pytest.raises(NoTimesError, match="must have samples with timestamps"):
        write(source, tmp_path / "trace.json")
    assert not list(tmp_path.iterdir())
