"""Tests for the figures in the tables that the demo ends with."""

from __future__ import annotations

import pytest

from nanospan import PerformanceMonitor
from nanospan.demo.figures import gain_figures, operation_figures
from nanospan.demo.workload import Timings


def test_verdict_compares_p95_with_the_threshold() -> None:
    """The verdict is ``over`` only if p95 exceeds the threshold, not just the maximum."""
    monitor = PerformanceMonitor()
    monitor.set_threshold("query", 0.050)
    monitor.set_threshold("buffer_flush", 0.050)
    for number in range(100):
        monitor.record_metric("query", 0.010 if number else 1.0)
        monitor.record_metric("buffer_flush", 0.010 if number < 90 else 0.051)
    verdicts = {row.operation: row.verdict for row in operation_figures(monitor)}
    assert verdicts == {"query": "within", "buffer_flush": "over"}


def test_p95_at_the_threshold_is_within() -> None:
    """The verdict is ``within`` if p95 equals the threshold."""
    monitor = PerformanceMonitor()
    monitor.set_threshold("query", 0.25)
    monitor.record_metric("query", 0.25)
    (row,) = operation_figures(monitor)
    assert (row.verdict, row.count, row.mean, row.p99) == ("within", 1, 0.25, 0.25)


def test_operation_without_threshold_has_no_verdict() -> None:
    """The verdict on an operation without a threshold is ``none``."""
    monitor = PerformanceMonitor()
    monitor.set_threshold("m0_operation", None)
    monitor.record_metric("m0_operation", 99.0)
    (row,) = operation_figures(monitor)
    assert (row.threshold, row.verdict) == (None, "none")


def test_gains() -> None:
    """The latency gain is the reduction of the mean; the throughput gain is a ratio."""
    naive = Timings([0.010, 0.030], [0.1, 0.3], 100, 10.0)
    nanospan = Timings([0.001], [0.05], 100, 2.5)
    latency, throughput, acquisition = gain_figures(naive, nanospan)
    assert (latency.naive, latency.nanospan) == pytest.approx((0.2, 0.05))
    assert latency.gain == pytest.approx(0.75)
    assert latency.is_better
    assert (throughput.naive, throughput.nanospan) == (10.0, 40.0)
    assert throughput.gain == pytest.approx(4.0)
    assert throughput.is_better
    assert acquisition.gain == pytest.approx(0.95)
    assert acquisition.is_better


def test_a_loss_is_a_negative_gain() -> None:
    """If nanospan is slower, the gain is negative and worse than the published gain."""
    naive, nanospan = Timings([0.1], [0.1], 1, 1.0), Timings([0.2], [0.2], 1, 4.0)
    latency, throughput, acquisition = gain_figures(naive, nanospan)
    assert latency.gain == pytest.approx(-1.0)
    assert throughput.gain == pytest.approx(0.25)
    assert not any(row.is_better for row in (latency, throughput, acquisition))
