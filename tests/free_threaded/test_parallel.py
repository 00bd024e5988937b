"""Tests for threads that share a monitor; on a free-threaded build, they run in parallel."""

import asyncio
import gc
import subprocess
import sys
import sysconfig
import threading
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from nanospan import PerformanceMonitor, get_performance_monitor, track_performance

FREE_THREADED = sysconfig.get_config_var("Py_GIL_DISABLED") == 1
THREADS = 4
SAMPLES = 200_000 if FREE_THREADED else 5_000  # per thread


@pytest.fixture(autouse=True)
def _switch_often():
    """Make an interpreter with a GIL switch threads often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def together(*works):
    """Call each function in ``works`` at the same time in its own thread; return the results."""
    barrier = threading.Barrier(len(works))

    def begin(work):
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(begin, work) for work in works]]


def until(stop, work):
    """Call ``work`` at least once, and repeatedly until ``stop`` is set."""
    while True:
        work()
        if stop.is_set():
            return


def beside(writers, *others):
    """Run ``writers`` in parallel; call each of ``others`` repeatedly until all writers finish."""
    stop = threading.Event()
    left = iter(range(len(writers) - 1, -1, -1))
    lock = threading.Lock()

    def write(work):
        try:
            work()
        finally:
            with lock:
                if next(left) == 0:
                    stop.set()

    repeated = [partial(until, stop, work) for work in others]
    together(*(partial(write, work) for work in writers), *repeated)


def seconds(thread, i):
    """Return a unique duration for a sample, exact both in seconds and in whole nanoseconds."""
    return (thread * SAMPLES + i + 1) * 2.0**-9


def test_the_gil_is_off():
    """Importing nanospan does not enable the GIL and emits no warning."""
    if not FREE_THREADED:
        pytest.skip("this interpreter is built with a GIL")
    code = "import sys, nanospan; sys.exit(sys._is_gil_enabled())"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert sys._is_gil_enabled() is False  # The GIL is also still off in this process.


def test_separate_operations():
    """If each thread records into its own operation, every sample ends up in the right one."""
    monitor = PerformanceMonitor(SAMPLES)

    def work(thread):
        for i in range(SAMPLES):
            monitor.record_metric(f"op{thread}", seconds(thread, i))

    together(*(partial(work, thread) for thread in range(THREADS)))
    for thread in range(THREADS):
        [samples] = monitor.export_metrics(f"op{thread}").values()
        assert [s["duration"] for s in samples] == [seconds(thread, i) for i in range(SAMPLES)]
        assert monitor.get_stats(f"op{thread}").total_count == SAMPLES


def test_one_operation_loses_nothing():
    """If threads record into the same operation, its window and statistics are exact."""
    monitor = PerformanceMonitor(THREADS * SAMPLES)

    def work(thread):
        for i in range(SAMPLES):
            monitor.record_metric("op", seconds(thread, i), success=i % 10 != 0)

    together(*(partial(work, thread) for thread in range(THREADS)))
    expected = [seconds(thread, i) for thread in range(THREADS) for i in range(SAMPLES)]
    [samples] = monitor.export_metrics("op").values()
    assert sorted(sample["duration"] for sample in samples) == expected
    stats = monitor.get_stats("op")
    assert (stats.count, stats.total_count) == (len(expected), len(expected))
    assert stats.error_count == len(expected) // 10
    assert (stats.min_duration, stats.max_duration) == (expected[0], expected[-1])
    assert stats.avg_duration == pytest.approx(sum(expected) / len(expected), rel=1e-12)


def test_each_thread_sees_its_samples_in_order():
    """The window keeps each thread's samples in the order in which the thread recorded them."""
    monitor = PerformanceMonitor(THREADS * SAMPLES)

    def work(thread):
        for i in range(SAMPLES):
            monitor.record_metric("op", seconds(thread, i))

    together(*(partial(work, thread) for thread in range(THREADS)))
    [samples] = monitor.export_metrics("op").values()
    last = [0.0] * THREADS
    for sample in samples:
        thread = int(sample["duration"] * 2**9 - 1) // SAMPLES
        assert sample["duration"] > last[thread]
        last[thread] = sample["duration"]


@pytest.mark.parametrize("window", [1, 7, 64, 1000])
def test_a_window_that_is_overwritten_ends_full(window):
    """After wrapping around many times, a window is full and each sample has its own metadata."""
    monitor = PerformanceMonitor(window)

    def work(thread):
        for i in range(SAMPLES):
            monitor.record_metric("op", seconds(thread, i), metadata={"of": (thread, i)})

    together(*(partial(work, thread) for thread in range(THREADS)))
    [samples] = monitor.export_metrics("op").values()
    assert len(samples) == window
    assert len({sample["duration"] for sample in samples}) == window
    for sample in samples:
        assert sample["duration"] == seconds(*sample["metadata"]["of"])
    assert monitor.get_stats("op").total_count == THREADS * SAMPLES


def test_spans_with_metadata():
    """A span's sample has only metadata from that span: from its call, set() and exception."""
    monitor = PerformanceMonitor(THREADS * SAMPLES)
    given = {"shared": True}  # All threads share this dict.

    def work(thread):
        for i in range(SAMPLES // 10):
            try:
                with monitor.track_operation("op", given) as span:
                    span.set(of=(thread, i))
                    if i % 2:
                        raise ValueError(i)
            except ValueError:
                pass

    together(*(partial(work, thread) for thread in range(THREADS)))
    [samples] = monitor.export_metrics("op").values()
    assert given == {"shared": True}
    assert Counter(sample["metadata"]["of"] for sample in samples) == Counter(
        (thread, i) for thread in range(THREADS) for i in range(SAMPLES // 10)
    )
    for sample in samples:
        _, i = sample["metadata"]["of"]
        assert sample["metadata"]["shared"]
        assert sample["success"] == (i % 2 == 0)
        assert sample["metadata"].get("error") == (str(i) if i % 2 else None)


def test_names_first_seen_at_once():
    """Threads that use a new name at the same time record into the same operation."""
    for _ in range(20):
        monitor = PerformanceMonitor(10)

        def work(monitor=monitor):
            for i in range(200):
                monitor.record_metric(f"op{i}", 0.001)

        together(*[work] * THREADS)
        totals = {name: stats.total_count for name, stats in monitor.get_all_stats().items()}
        assert totals == {f"op{i}": THREADS for i in range(200)}


def test_names_past_the_bound_at_once(caplog):
    """If threads together exceed max_operations, no sample is lost and one warning is logged."""
    for _ in range(20):
        caplog.clear()
        monitor = PerformanceMonitor(10, max_operations=50)

        def work(thread, monitor=monitor):
            for i in range(100):
                monitor.record_metric(f"op{thread}.{i}", 0.001)

        together(*(partial(work, thread) for thread in range(THREADS)))
        totals = {name: stats.total_count for name, stats in monitor.get_all_stats().items()}
        overflow = totals.pop("__overflow__")
        assert (len(totals), set(totals.values())) == (50, {1})
        assert overflow == THREADS * 100 - 50
        assert len(caplog.records) == 1


def test_clearing_while_others_record():
    """Clearing while threads record is safe; samples recorded later are counted exactly."""
    monitor = PerformanceMonitor(100)

    def work():
        for i in range(SAMPLES):
            monitor.record_metric("op", 0.001, metadata={"i": i} if i % 3 == 0 else None)

    def clear():
        monitor.clear_metrics("op")
        stats = monitor.get_stats("op")
        assert stats is None or 0 < stats.count <= 100

    beside([work] * THREADS, clear, monitor.clear_metrics)
    monitor.clear_metrics()
    assert monitor.get_stats("op") is None
    for i in range(10):
        monitor.record_metric("op", seconds(0, i))
    stats = monitor.get_stats("op")
    assert (stats.count, stats.total_count) == (10, 10)
    assert (stats.min_duration, stats.max_duration) == (seconds(0, 0), seconds(0, 9))


def test_reading_while_others_record():
    """Readers never see a torn sample, another sample's metadata, or a decreasing total."""
    monitor = PerformanceMonitor(64)
    seen = 0

    def work(thread):
        for i in range(SAMPLES):
            duration = seconds(thread, i)
            monitor.record_metric("op", duration, metadata={"duration": duration})

    def read():
        for sample in monitor.export_metrics("op").get("op", []):
            assert sample["metadata"] == {"duration": sample["duration"]}

    def ask():
        nonlocal seen
        stats = monitor.get_all_stats().get("op")
        if stats is not None:
            assert stats.total_count >= seen
            assert stats.min_duration <= stats.p50_duration <= stats.max_duration
            assert stats.count <= 64
            seen = stats.total_count

    beside([partial(work, thread) for thread in range(THREADS)], read, ask)
    assert monitor.get_stats("op").total_count == THREADS * SAMPLES


def test_every_violation_is_reported_once():
    """A callback gets each violation once, even while other callbacks are added and removed."""
    monitor = PerformanceMonitor(10)
    monitor.set_threshold("op", 1.0)
    reported = [[] for _ in range(THREADS)]

    def report(event, metric):
        assert event == "threshold_violation"
        thread, i = metric.metadata["of"]
        assert metric.duration == 1.0 + i
        reported[thread].append(i)

    def work(thread):
        for i in range(SAMPLES // 10):
            monitor.record_metric("op", 1.0 + i, metadata={"of": (thread, i)})

    def come_and_go():
        other = lambda *_: None  # noqa: E731 - a lambda creates a new object each time
        monitor.add_alert_callback(other)
        monitor.remove_alert_callback(other)

    monitor.add_alert_callback(report)
    beside([partial(work, thread) for thread in range(THREADS)], come_and_go, come_and_go)
    assert reported == [list(range(1, SAMPLES // 10))] * THREADS
    assert monitor.get_stats("op").violation_count == THREADS * (SAMPLES // 10 - 1)


def test_switches_thrown_while_others_record():
    """Toggling a monitor and its thresholds while threads record loses no later samples."""
    monitor = PerformanceMonitor(10)

    def work():
        for _ in range(SAMPLES):
            with monitor.track_operation("op"):
                pass

    def throw():
        monitor.disable()
        monitor.set_threshold("op", 1.0)
        monitor.enable()
        monitor.set_threshold("op", None)

    beside([work] * THREADS, throw)
    monitor.clear_metrics()
    together(*[work] * THREADS)
    assert monitor.get_stats("op").total_count == THREADS * SAMPLES


def test_a_span_is_entered_by_one_thread_only():
    """If threads enter the same span at the same time, all but one get a RuntimeError."""
    monitor = PerformanceMonitor(10)
    rounds = SAMPLES // 50

    def enter(span):
        try:
            span.__enter__()
        except RuntimeError:
            return 0
        span.__exit__(None, None, None)
        return 1

    spans = [monitor.track_operation("op") for _ in range(rounds)]
    entered = together(*[lambda: sum(map(enter, spans))] * THREADS)
    assert sum(entered) == rounds
    assert monitor.get_stats("op").total_count == rounds


def test_a_decorated_function_called_by_all():
    """A decorated function called from many threads records every call and returns its result."""
    get_performance_monitor().clear_metrics("parallel.decorated")

    @track_performance("parallel.decorated")
    def same(value):
        return value

    def work():
        return all(same(i) == i for i in range(SAMPLES))

    assert all(together(*[work] * THREADS))
    total = get_performance_monitor().get_stats("parallel.decorated").total_count
    get_performance_monitor().clear_metrics("parallel.decorated")
    assert total == THREADS * SAMPLES


def test_event_loops_in_threads():
    """Event loops in several threads can track coroutines under the same operation."""
    monitor = PerformanceMonitor(10)

    async def track(calls):
        for i in range(calls):
            async with monitor.track_operation("op") as span:
                if i % 100 == 0:
                    await asyncio.sleep(0)
            assert span.elapsed >= 0

    async def tracks():
        await asyncio.gather(*(track(SAMPLES // 10) for _ in range(4)))

    together(*[lambda: asyncio.run(tracks())] * THREADS)
    assert monitor.get_stats("op").total_count == THREADS * 4 * (SAMPLES // 10)


def test_monitors_come_and_go():
    """Monitors in reference cycles are freed even if threads create them during collections."""

    def work():
        gone = []
        for i in range(100):
            monitor = PerformanceMonitor(8)
            monitor.add_alert_callback(lambda *_, monitor=monitor: monitor.get_all_stats())
            monitor.set_threshold("op", 0.0)
            monitor.record_metric("op", 0.1, metadata={"monitor": monitor, "i": i})
            gone.append(weakref.ref(monitor))
        return gone

    stop = threading.Event()
    collector = threading.Thread(target=until, args=(stop, gc.collect))
    gc.freeze()  # what else the process holds would make each collection slow, and so rare
    collector.start()
    try:
        references = together(*[work] * THREADS)
    finally:
        stop.set()
        collector.join()
        gc.unfreeze()
    gc.collect()
    assert [reference() for of_thread in references for reference in of_thread] == [None] * 400
