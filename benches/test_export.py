"""Benchmarks of large exports: a million samples in each format, and HTML reports."""

from __future__ import annotations

import io
import random
from itertools import count

import pytest

from nanospan import PerformanceMonitor
from nanospan.export.report import write_report
from nanospan.export.write import FORMATS, write

SAMPLES = 1_000_000
FEW = 10_000  # only needed when measuring


@pytest.fixture(scope="module", params=["plain", "metadata"])
def monitor(request):
    """A monitor with a million samples in one window, with and without metadata."""
    option = request.config.getoption
    measured = option("benchmark_enable") or not option("benchmark_disable")
    samples = SAMPLES if measured else FEW
    monitor = PerformanceMonitor(samples)
    operation = monitor.operation("query")
    numbers = count()
    draw = random.Random(7)  # noqa: S311 - no secret
    for number in range(samples):
        metadata = {"user": next(numbers), "tenant": "a"} if request.param == "metadata" else None
        operation.record(0.002 * draw.lognormvariate(0, 0.5), number % 100 != 0, metadata)
    return monitor


@pytest.mark.parametrize("format_", FORMATS)
def test_a_million_samples(benchmark, monitor, format_, tmp_path):
    """Write a million samples to a file on disk."""
    path = tmp_path / "samples"
    benchmark.pedantic(write, (monitor, path, format_), rounds=3)
    assert path.stat().st_size > monitor.max_metrics_per_operation


def test_report_of_a_million_samples(benchmark, monitor):
    """Write a report on one operation, whose window is drawn pixel by pixel."""
    benchmark.pedantic(lambda: write_report(monitor, io.BytesIO()), rounds=3)


def test_report_of_500_operations(benchmark):
    """Write a report on operations with full windows of 1,000 samples."""
    monitor = PerformanceMonitor()
    for name in range(500):
        operation = monitor.operation(f"operation {name}")
        for number in range(1_000):
            operation.record(1e-3 * (number % 37 + 1))
    benchmark.pedantic(lambda: write_report(monitor, io.BytesIO()), rounds=3)
