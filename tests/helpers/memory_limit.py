"""Call native functions under limits of memory, and print what happened as JSON.

usage: memory_limit.py [NAME]...

See tests/test_memory_limit.py. The name of each function is written to standard error first, so
that the last one there is the one that ended the process.
"""

import contextlib
import ctypes
import gc
import json
import logging
import math
import pickle
import resource
import sys
from array import array
from pathlib import Path

from nanospan import MonitorSnapshot, PerformanceMonitor, Snapshot, _core
from nanospan.export.prometheus import Exposition, NanospanCollector
from nanospan.export.safe_json import to_json
from nanospan.regression import OnlineDetector, change_points, compare, compare_many
from nanospan.values.measurements import Measurement

OPERATIONS = 1_000
SAMPLES = 30_000
SMALLEST = 1 << 16
"""The first limit above zero, in bytes; each one is twice the one before."""

LIBC = ctypes.CDLL(None)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def address_space():
    """Return the size of this process's address space, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def limit_growth(growth):
    """Let the address space grow by at most ``growth`` bytes; None removes the limit."""
    soft = resource.RLIM_INFINITY if growth is None else address_space() + growth
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))


def recorded():
    """Return a monitor with many operations, one of which has many samples."""
    monitor = PerformanceMonitor(16, max_operations=OPERATIONS, thresholds={})
    for number in range(OPERATIONS):
        name = f"operation {number}"
        monitor.set_threshold(name, 0.25)
        for duration in (1e-6, 1e-3, 1.0):
            monitor.record_metric(name, duration)
    big = PerformanceMonitor(1 << 16, max_operations=1, thresholds={})
    operation = big.operation("big")
    for number in range(SAMPLES):
        operation.record((1 + number % 97) * 1e-5, metadata={"number": number % 7, "text": '"x"'})
    return monitor, big


def functions():
    """Return the functions to call, keyed by name, and a function that checks the monitors."""
    monitor, big = recorded()
    operation, window = big.operation("big"), big.operation("big")._columns()
    snapshot, histogram = monitor.snapshot(), operation.snapshot()
    packed, packed_histogram = snapshot.to_bytes(), histogram.to_bytes()
    values, other = array("d", window.durations), array("d", window.durations)
    steps = array("d", [1 + (number // 5_000) % 2 + number % 13 / 50 for number in range(40_000)])
    listed = list(values)
    pairs = dict.fromkeys(range(OPERATIONS), (values[:200], other[:200]))
    rows = list(range(SAMPLES))
    lanes = window.lanes()
    heads = [[b'{"a":{"b":1', b'{"a":{"c":1'] for _ in range(3)]
    measurements = [
        Measurement("m", "gauge", number, "s", "d", {"n": str(number)}) for number in range(5_000)
    ]
    monitor.add_source(lambda: measurements)
    exposition, collector = Exposition(monitor), NanospanCollector(monitor)
    families, sources = exposition.families(), exposition.snapshots()
    first, last = window.extent()[0]
    name = "\udc80" * 200_000 + "\\ud800"
    escaped = _core.escape_name(name)
    bounds = [number / 1e3 for number in range(1, 100_000)]

    def check():
        totals = {stats.total_count for stats in monitor.get_all_stats().values()}
        assert totals == {3}
        assert len(monitor.get_all_stats()) == OPERATIONS
        assert big.get_stats("big").total_count == SAMPLES
        assert len(operation._columns()) == SAMPLES

    return check, {
        "snapshot": monitor.snapshot,
        "to_bytes": snapshot.to_bytes,
        "pickle": lambda: pickle.dumps(snapshot),
        "from_bytes": lambda: MonitorSnapshot.from_bytes(packed),
        "operations": lambda: snapshot.operations,
        "to_dict": snapshot.to_dict,
        "since": lambda: snapshot.since(snapshot),
        "thresholds": lambda: monitor.thresholds,
        "names": monitor._names,
        "get_stats": lambda: big.get_stats("big"),
        "export_metrics": big.export_metrics,
        "durations_since": lambda: big._durations_since("big", 0),
        "columns": operation._columns,
        "table_rows": lambda: window.table_rows(
            [b"a", b"b", b"c", b"d", b"\n"], b"", True, to_json
        ),
        "metadata_json": lambda: window.metadata_json(to_json),
        "metadata": lambda: window.metadata,
        "durations": lambda: window.durations,
        "ends": lambda: window.ends,
        "outcomes": lambda: window.outcomes,
        "take": lambda: window.take(rows),
        "slice": lambda: window.slice(0, SAMPLES),
        "lanes": window.lanes,
        "event_rows": lambda: lanes.event_rows(0, SAMPLES, heads, math.inf, 0, 1, to_json),
        "pixels": lambda: window.pixels([2_000, 1_000], [first, last], [1e-6, 1e-2]),
        "Samples": lambda: _core.Samples(
            window.durations, window.ends, window.outcomes, window.metadata
        ),
        "prometheus text": lambda: exposition.render("text"),
        "prometheus openmetrics": lambda: exposition.render("openmetrics"),
        "prometheus protobuf": lambda: exposition.render("protobuf"),
        "prometheus samples": lambda: exposition.encoder.samples(sources, families),
        "prometheus collector": lambda: list(collector.collect()),
        "prometheus bounds": lambda: _core.PrometheusEncoder(bounds, 160),
        "compare": lambda: compare(values, other),
        "compare lists": lambda: compare(listed, listed),
        "compare_many": lambda: compare_many(pairs),
        "change_points": lambda: change_points(steps),
        "OnlineDetector": lambda: OnlineDetector(1_000_000),
        "escape_name": lambda: _core.escape_name(name),
        "unescape_name": lambda: _core.unescape_name(escaped),
        "histograms": lambda: [
            (histogram.merge(histogram), Snapshot.from_bytes(packed_histogram), histogram.buckets())
            for _ in range(500)
        ],
    }


def call(function, growth):
    """Call a function under a limit; return what happened, empty if it succeeded."""
    LIBC.malloc_trim(0)
    # Memory that is free already would hide how little there is. The list does not grow meanwhile,
    # because growing would free the memory of its previous size.
    ballast = [None] * 100_000
    place = iter(range(len(ballast)))
    limit_growth(0)
    for size in (1 << 20, 1 << 16, 1 << 13):
        with contextlib.suppress(MemoryError):
            while True:
                ballast[next(place)] = bytearray(size)
    limit_growth(None)
    limit_growth(growth)
    try:
        function()
    except MemoryError:
        return "MemoryError"
    except BaseException as error:  # noqa: BLE001 - a panic is not an Exception
        limit_growth(None)
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        limit_growth(None)
    return ""


def warnings_of(recording):
    """Return the warnings that recording without memory logs, and what was recorded."""
    logged = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    logging.getLogger("nanospan").addHandler(handler)
    monitor = PerformanceMonitor(1 << 17, thresholds={})
    monitor.record_metric("known", 1.0)
    happened = [call(lambda: recording(monitor), 0) for _ in range(2)]
    recording(monitor)
    logging.getLogger("nanospan").removeHandler(handler)
    counts = {name: stats.total_count for name, stats in monitor.get_all_stats().items()}
    kept = [sample["metadata"] for sample in monitor.export_metrics("known").get("known", ())]
    return {"happened": happened, "logged": logged, "counts": counts, "metadata": kept}


def main():
    """Call each function under each limit and print the outcomes."""
    # Freed memory goes back to the system, or it would hide how little there is.
    LIBC.mallopt(M_MMAP_THRESHOLD, 1 << 17)
    LIBC.mallopt(M_TRIM_THRESHOLD, 0)
    check, called = functions()
    gc.collect()
    gc.freeze()
    outcomes = {}
    for name, function in called.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        print(name, file=sys.stderr, flush=True)
        growth, happened = 0, "MemoryError"
        memory_errors = 0
        while happened == "MemoryError":
            happened = call(function, growth)
            memory_errors += happened == "MemoryError"
            growth = growth * 2 or SMALLEST
        outcomes[name] = {"growth": growth, "memory_errors": memory_errors, "wrong": happened}
        check()
    outcomes["new operation"] = warnings_of(lambda monitor: monitor.record_metric("new", 1.0))
    outcomes["lost metadata"] = warnings_of(
        lambda monitor: monitor.record_metric("known", 1.0, metadata={"a": 1})
    )
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
