"""Tests for snapshots of all operations in a monitor."""

import asyncio
import copy
import gc
import json
import pickle
import threading
import time

import pytest

from nanospan import MonitorSnapshot, PerformanceMonitor


def in_flight(monitor, operation="op"):
    found = monitor.snapshot().operations.get(operation)
    return found.in_flight if found else 0


def test_outcomes_are_separate(monitor):
    """A snapshot has one histogram per outcome, and ``all`` combines the three histograms."""
    monitor.record_metric("op", 0.5)
    monitor.record_metric("op", 2.0, success=False)
    with pytest.raises(KeyboardInterrupt), monitor.track_operation("op"):
        raise KeyboardInterrupt
    before = time.time()
    snapshot = monitor.snapshot()
    assert before <= snapshot.time <= time.time() + 0.1
    assert list(snapshot.operations) == ["op"]
    op = snapshot.operations["op"]
    assert (op.operation, op.ok.count, op.error.count, op.cancelled.count) == ("op", 1, 1, 1)
    assert (op.ok.sum, op.error.max) == (0.5, 2.0)
    assert op.all == monitor.operation("op").snapshot()
    assert op.created <= snapshot.time


def test_a_snapshot_has_thresholds_and_violations(monitor):
    """A snapshot contains each operation's threshold and number of violations."""
    monitor.set_threshold("op", 1.0)
    monitor.record_metric("op", 1.0)
    monitor.record_metric("op", 1.1)
    op = monitor.snapshot().operations["op"]
    assert (op.threshold, op.violation_count) == (1.0, 1)
    monitor.record_metric("free", 1.0)
    assert monitor.snapshot().operations["free"].threshold is None


def test_operations_keep_the_order_in_which_they_were_first_seen(monitor):
    """A snapshot lists operations in the order of their first sample, and omits unused ones."""
    monitor.operation("unused")
    for name in ("z", "a", "m"):
        monitor.record_metric(name, 0.1)
    assert list(monitor.snapshot().operations) == ["z", "a", "m"]
    assert len(monitor.snapshot()) == 3


def test_spans_under_way_are_counted(monitor):
    """A span is in flight while its block runs, also if the block raises or is abandoned."""
    with monitor.track_operation("op"), monitor.operation("op").track():
        assert in_flight(monitor) == 2
        with pytest.raises(ZeroDivisionError), monitor.track_operation("op"):
            (in_flight(monitor) - 3) ** -1
    assert in_flight(monitor) == 0
    abandoned = monitor.track_operation("op")
    assert in_flight(monitor) == 0
    abandoned.__enter__()
    assert in_flight(monitor) == 1
    del abandoned
    gc.collect()
    assert in_flight(monitor) == 0


def test_decorated_functions_under_way_are_counted(monitor):
    """Decorated functions, coroutines and generators are in flight until they end or are freed."""

    @monitor.track_operation("op")
    def function():
        return in_flight(monitor)

    @monitor.track_operation("op")
    async def coroutine(event):
        await event.wait()

    @monitor.track_operation("op")
    def generator():
        yield in_flight(monitor)

    async def main():
        event = asyncio.Event()
        tasks = [asyncio.create_task(coroutine(event)) for _ in range(3)]
        await asyncio.sleep(0)
        assert in_flight(monitor) == 3
        tasks[0].cancel()
        await asyncio.sleep(0)
        assert in_flight(monitor) == 2
        event.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert function() == 1
    with pytest.raises(TypeError):
        function(1, 2, 3)
    asyncio.run(main())
    for value in generator():
        assert value == 1
    started = generator()
    next(started)
    del started
    gc.collect()
    assert in_flight(monitor) == 0


def test_disabling_in_between_leaves_nothing_in_flight(monitor):
    """Enabling or disabling the monitor within a block leaves nothing in flight afterwards."""
    with monitor.track_operation("op"):
        monitor.disable()
        with monitor.track_operation("op"):
            monitor.enable()
    monitor.record_metric("op", 0.1)
    assert in_flight(monitor) == 0


def test_a_difference_holds_the_samples_in_between(monitor):
    """since() has only samples recorded after the earlier snapshot, and omits idle operations."""
    monitor.record_metric("quiet", 0.1)
    monitor.record_metric("op", 0.1)
    monitor.record_metric("cleared", 0.1)
    earlier = monitor.snapshot()
    monitor.record_metric("op", 0.3)
    monitor.clear_metrics("cleared")
    monitor.record_metric("cleared", 0.2)
    since = monitor.snapshot().since(earlier)
    assert list(since.operations) == ["op", "cleared"]
    assert (since.operations["op"].ok.count, since.operations["op"].ok.sum) == (1, 0.3)
    assert since.operations["op"].created == earlier.time
    assert since.operations["cleared"].ok.count == 1


def test_histograms_have_differences(monitor):
    """Snapshot.since() subtracts an earlier snapshot, and raises if the other is not earlier."""
    op = monitor.operation("op")
    op.record(0.1)
    earlier = op.snapshot()
    op.record(0.2)
    assert op.snapshot().since(earlier).sum == pytest.approx(0.2)
    assert op.snapshot().since(earlier).max == 0.2
    with pytest.raises(ValueError, match="holds values that the later one lacks"):
        earlier.since(op.snapshot())


def test_buckets_contain_their_durations(monitor):
    """Each duration is counted in the bucket that contains it; zeros are counted separately."""
    op = monitor.operation("op")
    for duration in (0.0, 1e-9, 0.001, 0.001, 3.0):
        op.record(duration)
    snapshot = op.snapshot()
    base = 2**2**-snapshot.scale
    found = [
        next(n for i, n in snapshot.buckets() if base**i < duration <= base ** (i + 1))
        for duration in (1e-9, 0.001, 3.0)
    ]
    assert (snapshot.zeros, found) == (1, [1, 2, 1])
    assert [snapshot.count_below(s) for s in (0.0, 1e-9, 0.0005, 0.0011, 3.0)] == [1, 2, 2, 4, 5]
    with pytest.raises(ValueError, match="count_below"):
        snapshot.count_below(-1.0)


def test_a_snapshot_survives_bytes_and_pickle(monitor):
    """Serialising, pickling or copying a snapshot preserves it, even with unusual names."""
    for name in ("op", "süß", "lone \ud800 surrogate", 'a "b"\n'):
        monitor.record_metric(name, 0.1, success=False)
    snapshot = monitor.snapshot()
    assert MonitorSnapshot.from_bytes(snapshot.to_bytes()) == snapshot
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    assert copy.deepcopy(snapshot) == snapshot
    assert "lone \ud800 surrogate" in snapshot.operations


@pytest.mark.parametrize("data", [b"", b"NSM", b"NSH\x01", b"\xff" * 100])
def test_foreign_bytes_are_rejected(data):
    """from_bytes() raises a ValueError for bytes that are not a serialised snapshot."""
    with pytest.raises(ValueError, match="not a monitor snapshot"):
        MonitorSnapshot.from_bytes(data)


def test_every_damaged_byte_is_detected(monitor):
    """A serialised snapshot is rejected if any byte is changed or it is cut off anywhere."""
    monitor.record_metric("op", 0.1)
    data = monitor.snapshot().to_bytes()
    for i in range(len(data)):
        damaged = bytearray(data)
        damaged[i] ^= 0x10
        for wrong in (bytes(damaged), data[:i]):
            with pytest.raises(ValueError, match="not a monitor snapshot"):
                MonitorSnapshot.from_bytes(wrong)


def test_a_snapshot_can_be_json(monitor):
    """to_dict() returns a dict that can be serialised as JSON."""
    monitor.record_metric("op", 0.25)
    found = json.loads(json.dumps(monitor.snapshot().to_dict()))
    assert found["operations"]["op"]["ok"]["count"] == 1
    assert found["operations"]["op"]["ok"]["p50"] == 0.25
    assert found["operations"]["op"]["error"]["p99"] is None


def test_differences_lose_nothing_while_threads_record():
    """Differences between consecutive snapshots count every sample, even while threads record."""
    monitor, threads, each = PerformanceMonitor(), 3, 5_000
    writers = [
        threading.Thread(target=lambda: [monitor.record_metric("op", 1e-6) for _ in range(each)])
        for _ in range(threads)
    ]
    for writer in writers:
        writer.start()
    last, seen = None, 0
    while seen < threads * each:
        now = monitor.snapshot()
        since = now.since(last) if last else now
        if "op" in since.operations:
            seen += since.operations["op"].ok.count
        last = now
    for writer in writers:
        writer.join()
    assert seen == threads * each
    assert not monitor.snapshot().since(last).operations
