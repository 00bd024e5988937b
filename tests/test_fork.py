"""Tests for forked children, which count from zero and keep the parent's settings."""

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest

from nanospan import (
    MonitorSnapshot,
    PerformanceMonitor,
    get_performance_monitor,
    track_performance,
)

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is not available"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def in_child(work):
    """Fork, call ``work`` in the child, and return its result, which must be valid JSON."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)  # ends a child that is stuck
            os.write(writer, json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        result = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(result)


def counts(monitor):
    return {name: stats.total_count for name, stats in monitor.get_all_stats().items()}


def test_a_child_has_none_of_the_parents_samples(monitor):
    """In a child nothing that reads the monitor shows a sample recorded before the fork."""
    monitor.record_metric("op", 0.1, metadata={"k": 1})
    monitor.record_metric("op", 0.2, success=False)
    monitor.operation("op").record_cancelled(0.3)

    def read():
        operation = monitor.operation("op")
        return [
            monitor.get_stats("op"),
            monitor.export_metrics(),
            list(monitor.snapshot().operations),
            operation.snapshot().count,
            len(operation._columns()),
            list(monitor.durations("op")),
            list(monitor.baseline().operations),
        ]

    assert in_child(read) == [None, {}, [], 0, 0, [], []]
    assert counts(monitor) == {"op": 3}


def test_parent_and_child_record_independently(monitor):
    """After a fork, neither process sees the other's new samples."""
    monitor.record_metric("op", 0.1)

    def work():
        with monitor.track_operation("op"):
            pass
        monitor.record_metric("child", 0.1)
        return [counts(monitor), in_child(lambda: counts(monitor)), counts(monitor)]

    mine = {"op": 1, "child": 1}
    assert in_child(work) == [mine, {}, mine]
    assert counts(monitor) == {"op": 1}


def test_a_child_keeps_thresholds_handles_and_callbacks(process_monitor):
    """Thresholds, callbacks, handles and decorated functions work in a child as in its parent."""
    monitor, seen = process_monitor, []

    @track_performance("decorated")
    def decorated():
        pass

    def callback(_kind, metric):
        seen.append([metric.operation, metric.duration])

    handle = monitor.operation("op")
    handle.record(0.1)
    decorated()
    thresholds = {"op": 0.05, "seconds": 0.05, "decorated": 0.0, "first used by the child": 0.05}
    for name, threshold in thresholds.items():
        monitor.set_threshold(name, threshold)
    monitor.add_alert_callback(callback)

    def work():
        assert monitor is get_performance_monitor()
        assert handle is monitor.operation("op")
        handle.record(0.1)
        handle.record(0.01)
        decorated()
        monitor.record_metric("first used by the child", 0.1)
        snapshot = monitor.snapshot()
        return [
            [name for name, _ in seen],
            {name: part.threshold for name, part in snapshot.operations.items()},
            {name: part.violation_count for name, part in snapshot.operations.items()},
            dict(monitor.thresholds) == before,
        ]

    before = dict(monitor.thresholds)
    try:
        names, limits, violations, same = in_child(work)
    finally:
        monitor.remove_alert_callback(callback)
        for name in thresholds:
            monitor.set_threshold(name, None)
    assert names == ["op", "decorated", "first used by the child"]
    assert limits == {n: thresholds[n] for n in ("op", "decorated", "first used by the child")}
    assert violations == {"op": 1, "decorated": 1, "first used by the child": 1}
    assert same


def test_a_disabled_monitor_stays_disabled(monitor):
    """A child of a process with a disabled monitor does not record."""
    monitor.disable()

    def work():
        monitor.record_metric("op", 0.1)
        return [monitor.enabled, counts(monitor)]

    assert in_child(work) == [False, {}]


def test_a_childs_metadata_belong_to_its_samples():
    """The metadata of a child's samples are not mixed up with those of the parent's window."""
    monitor = PerformanceMonitor(4)
    for number in range(11):
        monitor.record_metric("op", 0.1, metadata={"parent": number})

    def work():
        for number in range(6):
            monitor.record_metric("op", 0.1, metadata={"child": number} if number % 2 else None)
        return [sample["metadata"] for sample in monitor.export_metrics("op")["op"]]

    assert in_child(work) == [{}, {"child": 3}, {}, {"child": 5}]


def test_a_child_counts_since_the_fork(monitor):
    """In a child, counting starts at the fork, so that its counters are new series to a reader."""
    monitor.record_metric("op", 0.1)
    time.sleep(0.01)
    before = time.time()

    def work():
        monitor.record_metric("op", 0.1)
        return monitor.snapshot().operations["op"].created

    assert in_child(work) > before - 0.005
    assert monitor.snapshot().operations["op"].created < before


def test_a_child_has_only_its_own_executions_in_flight(monitor):
    """Spans of the parent are not in flight in a child, not even one that the child leaves."""

    def in_flight():
        snapshot = monitor.snapshot()
        return {name: part.in_flight for name, part in snapshot.operations.items()}

    entered, leave = threading.Event(), threading.Event()

    def hold():
        with monitor.track_operation("other thread"):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()

    def work():
        found = [in_flight()]
        span.__exit__(None, None, None)
        with monitor.track_operation("forking thread"):
            found.append(in_flight())
        return [*found, in_flight(), counts(monitor)]

    try:
        with monitor.track_operation("forking thread") as span:
            found = in_child(work)
            assert in_flight() == {"other thread": 1, "forking thread": 1}
    finally:
        leave.set()
        thread.join()
    assert found == [{}, {"forking thread": 1}, {"forking thread": 0}, {"forking thread": 2}]


def test_an_overflow_is_counted_and_logged_in_each_process(caplog):
    """A child counts the names that it refuses itself, and logs its own warning."""
    monitor = PerformanceMonitor(max_operations=1)
    for name in ("a", "b"):
        monitor.record_metric(name, 0.1)

    def work():
        caplog.clear()
        found = [monitor.refused_names]
        monitor.record_metric("c", 0.1)
        return [*found, monitor.refused_names, len(caplog.records), counts(monitor)]

    assert in_child(work) == [0, 1, 1, {"__overflow__": 1}]


def test_a_monitor_whose_memory_was_copied_counts_from_zero(monitor):
    """Where the kernel does not erase the memory, the reset in the child erases it."""
    monitor.set_threshold("op", 0.05)
    for _ in range(3):
        monitor.record_metric("op", 0.1, metadata={"k": 1})
    monitor._reset_in_child()  # without a fork, the memory is as the parent left it
    assert counts(monitor) == {}
    monitor.record_metric("op", 0.1, metadata={"k": 2})
    stats = monitor.get_stats("op")
    assert (stats.count, stats.total_count, stats.violation_count) == (1, 1, 1)
    assert [sample["metadata"] for sample in monitor.export_metrics("op")["op"]] == [{"k": 2}]


def _record_in_worker(number):
    """Record in a multiprocessing worker, and return its snapshot; called in the child."""
    monitor = get_performance_monitor()
    monitor.record_metric("op", 0.001 * number)
    return os.getpid(), monitor.snapshot().to_bytes()


def test_snapshots_of_parent_and_workers_add_up(process_monitor):
    """The last snapshots of a parent and its forked workers hold each sample exactly once."""
    for number in range(1, 101):
        process_monitor.record_metric("op", 0.001 * number)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        returned = pool.map(_record_in_worker, range(101, 201), chunksize=1)
    latest = {}
    for process, data in returned:
        snapshot = MonitorSnapshot.from_bytes(data).operations["op"].all
        if process not in latest or snapshot.count > latest[process].count:
            latest[process] = snapshot
    total = process_monitor.snapshot().operations["op"].all
    assert total.count == 100
    for snapshot in latest.values():
        total = total.merge(snapshot)
    assert total.count == 200
    assert (total.min, total.max) == (0.001, 0.2)
    assert total.sum == pytest.approx(sum(0.001 * number for number in range(1, 201)))


def test_children_forked_while_threads_record(monitor):
    """A child forked at any moment of another thread's recording counts exactly its own samples."""
    stop = threading.Event()

    def record():
        while not stop.is_set():
            with monitor.track_operation("op", {"k": 1}):
                monitor.record_metric("op", 0.1)

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()

    def work():
        for _ in range(10):
            with monitor.track_operation("op", {"child": 1}):
                pass
        part = monitor.snapshot().operations["op"]
        samples = monitor.export_metrics("op")["op"]
        metadata = [sample["metadata"] == {"child": 1} for sample in samples]
        return [part.all.count, part.in_flight, metadata.count(True), len(metadata)]

    try:
        assert [in_child(work) for _ in range(20)] == [[10, 0, 10, 10]] * 20
    finally:
        stop.set()
        for thread in threads:
            thread.join()
