"""Benchmarks of tracking, compared with other libraries and a typical hand-written monitor.

Each timed call does its work ``BATCH`` times, so that the overhead of the call is negligible;
``report.py`` divides by ``BATCH`` and compares. Every benchmark asserts that its subject recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hdrh.histogram import HdrHistogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Histogram

from nanospan import PerformanceMonitor, get_performance_monitor, track_performance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

BATCH = 1000
WINDOW = 1000


@dataclass
class _Metric:
    operation: str
    duration: float
    timestamp: float
    success: bool
    metadata: dict[str, Any] = field(default_factory=dict)


class PurePython:
    """A typical hand-written monitor: a lock, deques of dataclasses, generators."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[_Metric]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._lock = threading.RLock()
        self._thresholds = {"op": 10.0}

    def record_metric(self, operation: str, duration: float, *, success: bool = True) -> None:
        """Store a sample and compare its duration with the operation's threshold."""
        metric = _Metric(operation, duration, time.time(), success)
        with self._lock:
            self._samples[operation].append(metric)
            threshold = self._thresholds.get(operation)
            if threshold is not None and duration > threshold:
                raise AssertionError("no sample here is that long")

    @contextlib.contextmanager
    def track(self, operation: str) -> Iterator[None]:
        """Time a ``with`` block."""
        start, success = time.perf_counter(), True
        try:
            yield
        except Exception:
            success = False
            raise
        finally:
            self.record_metric(operation, time.perf_counter() - start, success=success)

    @contextlib.asynccontextmanager
    async def atrack(self, operation: str) -> AsyncIterator[None]:
        """Time an ``async with`` block."""
        start, success = time.perf_counter(), True
        try:
            yield
        except Exception:
            success = False
            raise
        finally:
            self.record_metric(operation, time.perf_counter() - start, success=success)

    def get_stats(self, operation: str) -> tuple[float, ...]:
        """Return the statistics of an operation's window."""
        with self._lock:
            samples = list(self._samples[operation])
        durations = sorted(sample.duration for sample in samples)
        return (
            len(durations),
            statistics.mean(durations),
            durations[0],
            durations[-1],
            durations[int(0.95 * len(durations))],
            durations[int(0.99 * len(durations))],
            sum(sample.success for sample in samples) / len(samples),
        )


@pytest.fixture
def monitor() -> PerformanceMonitor:
    """Return a new monitor."""
    return PerformanceMonitor(max_metrics_per_operation=WINDOW)


@pytest.fixture
def prometheus() -> Histogram:
    """Return a Prometheus histogram with one label, as in typical use."""
    return Histogram("op", "An operation.", ["operation"], registry=CollectorRegistry())


def prometheus_count(histogram: Histogram) -> float:
    """Return the number of samples in a Prometheus histogram."""
    [metric] = histogram.collect()
    return next(s.value for s in metric.samples if s.name.endswith("_count"))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield an event loop; close the loop after the benchmark."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def measure(
    benchmark: BenchmarkFixture, group: str, subject: str, work: Callable[[int], object]
) -> None:
    """Benchmark ``work(BATCH)`` under the given group and subject."""
    benchmark.group = group
    benchmark.extra_info.update(subject=subject, calls=BATCH)
    benchmark.pedantic(work, args=(BATCH,), rounds=200, warmup_rounds=5)


class TestWith:
    """Timing a ``with`` block."""

    def run(self, benchmark, subject, context) -> None:
        def work(calls: int) -> None:
            for _ in range(calls):
                with context("op"):
                    pass

        measure(benchmark, "with", subject, work)

    def test_nanospan(self, benchmark, monitor) -> None:
        self.run(benchmark, "nanospan", monitor.track_operation)
        assert monitor.get_stats("op").total_count >= BATCH

    def test_nanospan_disabled(self, benchmark, monitor) -> None:
        monitor.disable()
        self.run(benchmark, "nanospan, disabled", monitor.track_operation)
        assert monitor.get_stats("op") is None

    def test_prometheus_client(self, benchmark, prometheus) -> None:
        child = prometheus.labels("op")
        self.run(benchmark, "prometheus_client, label bound", lambda _: child.time())
        assert prometheus_count(prometheus) >= BATCH

    def test_prometheus_client_labels(self, benchmark, prometheus) -> None:
        self.run(benchmark, "prometheus_client", lambda op: prometheus.labels(op).time())
        assert prometheus_count(prometheus) >= BATCH

    def test_pure_python(self, benchmark) -> None:
        pure = PurePython()
        self.run(benchmark, "pure Python", pure.track)
        assert pure.get_stats("op")[0] == WINDOW


class TestAsyncWith:
    """Timing an ``async with`` block."""

    def run(self, benchmark, loop, subject, context) -> None:
        async def batch(calls: int) -> None:
            for _ in range(calls):
                async with context("op"):
                    pass

        measure(benchmark, "async with", subject, lambda n: loop.run_until_complete(batch(n)))

    def test_nanospan(self, benchmark, loop, monitor) -> None:
        self.run(benchmark, loop, "nanospan", monitor.track_operation)
        assert monitor.get_stats("op").total_count >= BATCH

    def test_pure_python(self, benchmark, loop) -> None:
        pure = PurePython()
        self.run(benchmark, loop, "pure Python", pure.atrack)
        assert pure.get_stats("op")[0] == WINDOW


class TestDecorator:
    """Calling a decorated function that does nothing."""

    def run(self, benchmark, subject, function) -> None:
        def work(calls: int) -> None:
            for _ in range(calls):
                function()

        measure(benchmark, "decorated call", subject, work)

    def test_undecorated(self, benchmark) -> None:
        self.run(benchmark, "undecorated", lambda: None)

    def test_nanospan(self, benchmark) -> None:
        get_performance_monitor().clear_metrics("decorated")
        self.run(benchmark, "nanospan", track_performance("decorated")(lambda: None))
        assert get_performance_monitor().get_stats("decorated").total_count >= BATCH

    def test_prometheus_client(self, benchmark, prometheus) -> None:
        self.run(benchmark, "prometheus_client", prometheus.labels("op").time()(lambda: None))
        assert prometheus_count(prometheus) >= BATCH

    def test_pure_python(self, benchmark) -> None:
        pure = PurePython()
        self.run(benchmark, "pure Python", pure.track("op")(lambda: None))
        assert pure.get_stats("op")[0] == WINDOW


class TestAsyncDecorator:
    """Awaiting a decorated coroutine function that does nothing."""

    def run(self, benchmark, loop, subject, function) -> None:
        async def batch(calls: int) -> None:
            for _ in range(calls):
                await function()

        group = "decorated coroutine"
        measure(benchmark, group, subject, lambda n: loop.run_until_complete(batch(n)))

    @staticmethod
    async def nothing() -> None:
        """Do nothing; this function is decorated in the benchmarks."""

    def test_undecorated(self, benchmark, loop) -> None:
        self.run(benchmark, loop, "undecorated", self.nothing)

    def test_nanospan(self, benchmark, loop) -> None:
        get_performance_monitor().clear_metrics("decorated")
        self.run(benchmark, loop, "nanospan", track_performance("decorated")(self.nothing))
        assert get_performance_monitor().get_stats("decorated").total_count >= BATCH

    def test_pure_python(self, benchmark, loop) -> None:
        pure = PurePython()
        self.run(benchmark, loop, "pure Python", pure.atrack("op")(self.nothing))
        assert pure.get_stats("op")[0] == WINDOW


class TestRecord:
    """Recording a duration that was measured elsewhere."""

    def run(self, benchmark, subject, record) -> None:
        def work(calls: int) -> None:
            for _ in range(calls):
                record()

        measure(benchmark, "record", subject, work)

    def test_nanospan(self, benchmark, monitor) -> None:
        self.run(benchmark, "nanospan", lambda: monitor.record_metric("op", 0.001))
        assert monitor.get_stats("op").total_count >= BATCH

    def test_prometheus_client(self, benchmark, prometheus) -> None:
        self.run(benchmark, "prometheus_client", lambda: prometheus.labels("op").observe(0.001))
        assert prometheus_count(prometheus) >= BATCH

    def test_opentelemetry_sdk(self, benchmark) -> None:
        reader = InMemoryMetricReader()
        histogram = MeterProvider([reader]).get_meter("bench").create_histogram("op")
        attributes = {"operation": "op"}
        self.run(benchmark, "opentelemetry-sdk", lambda: histogram.record(0.001, attributes))
        data = reader.get_metrics_data()
        metric = data.resource_metrics[0].scope_metrics[0].metrics[0]
        assert metric.data.data_points[0].count >= BATCH

    def test_hdrhistogram(self, benchmark) -> None:
        histogram = HdrHistogram(1, 3_600_000_000_000, 3)
        self.run(benchmark, "hdrhistogram", lambda: histogram.record_value(1_000_000))
        assert histogram.get_total_count() >= BATCH

    def test_pure_python(self, benchmark) -> None:
        pure = PurePython()
        self.run(benchmark, "pure Python", lambda: pure.record_metric("op", 0.001))
        assert pure.get_stats("op")[0] == WINDOW


class TestGetStats:
    """Computing the statistics of a full window of 1,000 samples."""

    def run(self, benchmark, subject, record, get_stats) -> None:
        for i in range(WINDOW):
            record("op", 0.001 * (i * 7919 % 1000))
        benchmark.group = "get_stats of 1,000"
        benchmark.extra_info.update(subject=subject, calls=1)
        benchmark.pedantic(get_stats, args=("op",), rounds=300, warmup_rounds=5)

    def test_nanospan(self, benchmark, monitor) -> None:
        self.run(benchmark, "nanospan", monitor.record_metric, monitor.get_stats)
        assert monitor.get_stats("op").count == WINDOW

    def test_pure_python(self, benchmark) -> None:
        pure = PurePython()
        self.run(benchmark, "pure Python", pure.record_metric, pure.get_stats)
        assert pure.get_stats("op")[0] == WINDOW
