"""Tests for snapshots of an operation's histogram."""

import copy
import pickle
import random

import pytest

from nanospan import PerformanceMonitor, Snapshot


@pytest.fixture
def record(monitor):
    """Return a function that records durations, in seconds, and returns a snapshot."""

    def record(*durations, operation="op"):
        handle = monitor.operation(operation)
        for duration in durations:
            handle.record(duration)
        return handle.snapshot()

    return record


def test_count_sum_and_extremes_are_exact(record):
    """A snapshot's count is exact, and its sum, min and max are exact to the nanosecond."""
    snapshot = record(0.001, 0.002, 0.003, 1e-9)
    assert (snapshot.count, snapshot.min, snapshot.max) == (4, 1e-9, 0.003)
    assert snapshot.sum == 0.006000001
    assert snapshot.scale == 6


def test_a_snapshot_covers_more_than_the_window():
    """A snapshot counts every sample since the last clear, not only the samples in the window."""
    monitor = PerformanceMonitor(max_metrics_per_operation=5)
    for _ in range(100):
        monitor.record_metric("op", 0.5)
    assert monitor.operation("op").snapshot().count == 100
    monitor.clear_metrics()
    assert monitor.operation("op").snapshot().count == 0


def test_quantiles_are_within_the_stated_error(record):
    """Every quantile is within 0.55 % of the exact quantile, at any magnitude."""
    values = [10 ** random.Random(3).uniform(-8, 3) for _ in range(2_000)]
    snapshot = record(*values)
    values.sort()
    for q in (0.0, 0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0):
        exact = values[max(0, -(-q * len(values) // 1).__int__() - 1)]
        assert snapshot.quantile(q) == pytest.approx(exact, rel=0.0055)


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan"), float("inf")])
def test_invalid_quantiles_are_rejected(record, q):
    """quantile() raises a ValueError for a number that is not between 0 and 1."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        record(0.1).quantile(q)


def test_an_empty_snapshot_has_no_figures(record):
    """An empty snapshot has a count and sum of 0, and None as its min, max and quantiles."""
    empty = record()
    assert (empty.count, empty.sum) == (0, 0.0)
    assert (empty.min, empty.max, empty.quantile(0.5)) == (None, None, None)
    assert empty.merge(empty) == empty
    assert Snapshot.from_bytes(empty.to_bytes()) == empty


def test_merging_equals_recording_in_one_place(record):
    """Merging snapshots in any order gives the snapshot of all their durations together."""
    a = record(0.001, 0.5, operation="a")
    b = record(0.0, 3e-9, 7200.0, operation="b")
    both = record(0.001, 0.5, 0.0, 3e-9, 7200.0, operation="both")
    assert a.merge(b) == b.merge(a) == both
    assert (a.count, b.count) == (2, 3)


def test_coarser_scales_keep_count_and_sum(record):
    """A snapshot at a lower scale has the same count and sum."""
    snapshot = record(0.001, 0.00101, 0.5)
    coarse = snapshot.at_scale(0)
    assert (coarse.scale, coarse.count, coarse.sum) == (0, 3, snapshot.sum)
    assert snapshot.merge(coarse).scale == 0


def test_a_snapshot_survives_bytes_pickle_and_copy(record):
    """Serialising, pickling or copying a snapshot preserves it."""
    snapshot = record(0.0, 1e-9, 0.001, 0.5, 7200.0)
    assert Snapshot.from_bytes(snapshot.to_bytes()) == snapshot
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    assert copy.deepcopy(snapshot) == snapshot
    assert snapshot != record(0.1, operation="other")


def test_damaged_bytes_are_rejected(record):
    """from_bytes() raises a ValueError for truncated or extended bytes, and any flipped bit."""
    data = record(0.001, 0.002, 5.0).to_bytes()
    for length in range(len(data)):
        with pytest.raises(ValueError, match="snapshot"):
            Snapshot.from_bytes(data[:length])
    for at in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(ValueError, match="snapshot"):
            Snapshot.from_bytes(bytes(damaged))
    with pytest.raises(ValueError, match="snapshot"):
        Snapshot.from_bytes(data + b"\0")


@pytest.mark.parametrize("data", [None, "text", 5])
def test_only_bytes_are_accepted(data):
    """from_bytes() raises a TypeError if its argument is not bytes."""
    with pytest.raises(TypeError):
        Snapshot.from_bytes(data)


def test_the_repr_of_a_snapshot(record):
    """A snapshot's repr shows the count, and the p50 and p99 if there are any."""
    assert repr(record(0.5)) == "<Snapshot count=1 p50=0.500000 s p99=0.500000 s>"
    assert repr(record(operation="none")) == "<Snapshot count=0>"
