"""Tests of what callers of MemFuse's monitor rely on beyond the public interface."""

from __future__ import annotations

import logging

import pytest

import nanospan
from nanospan.compat.memfuse.performance_monitor import (
    PerformanceMetric,
    PerformanceMonitor,
    PerformanceStats,
    get_performance_monitor,
    track_performance,
)

LOGGER = "memfuse_core.monitoring.performance_monitor"


@pytest.fixture
def monitor() -> PerformanceMonitor:
    return PerformanceMonitor(max_metrics_per_operation=10)


def test_types() -> None:
    """Samples and statistics are the package's own types."""
    assert PerformanceMetric is nanospan.PerformanceMetric
    assert PerformanceStats is nanospan.PerformanceStats


async def test_process_monitor(process_monitor: PerformanceMonitor) -> None:
    """The process has one monitor, which has the private names under either import."""
    assert get_performance_monitor() is nanospan.get_performance_monitor() is process_monitor
    assert isinstance(process_monitor, PerformanceMonitor)

    @track_performance("op")
    def work() -> int:
        return 1

    @track_performance("op")
    async def work_async() -> int:
        return 2

    assert (work(), await work_async()) == (1, 2)
    assert [metric.operation for metric in process_monitor._metrics["op"]] == ["op", "op"]


async def test_samples(monitor: PerformanceMonitor) -> None:
    """The window's samples can be read as before, oldest first."""
    monitor.record_metric("op", 0.5, True, {"user": 7})
    with pytest.raises(ValueError, match="broken"):
        async with monitor.track_operation("op"):
            raise ValueError("broken")
    first, second = monitor._metrics["op"]
    assert (first.duration, first.success, first.metadata) == (0.5, True, {"user": 7})
    assert (second.success, second.metadata) == (False, {"error": "broken"})
    assert list(monitor._metrics) == ["op"]


def test_views_are_read_only(monitor: PerformanceMonitor) -> None:
    """A change to a view fails rather than having no effect."""
    monitor.record_metric("op", 0.5)
    with pytest.raises(TypeError):
        monitor._thresholds["op"] = 0.1  # type: ignore[index]
    with pytest.raises(AttributeError):
        monitor._metrics.clear()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        monitor._metrics["op"].append(None)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        monitor._alert_callbacks.append(print)  # type: ignore[attr-defined]


def test_thresholds(monitor: PerformanceMonitor) -> None:
    """The default thresholds are there; 0 removes a threshold."""
    assert monitor._thresholds["connection_pool_access"] == 0.010
    alerts: list[tuple[str, PerformanceMetric]] = []

    def callback(kind: str, metric: PerformanceMetric) -> None:
        alerts.append((kind, metric))

    monitor.add_alert_callback(callback)
    assert list(monitor._alert_callbacks) == [callback]
    monitor.set_threshold("slow", 0.05)
    monitor.record_metric("slow", 0.1)
    assert [(kind, metric.duration) for kind, metric in alerts] == [("threshold_violation", 0.1)]
    monitor.set_threshold("slow", 0)
    monitor.record_metric("slow", 0.1)
    assert len(alerts) == 1
    assert "slow" not in monitor._thresholds


def test_enabled(monitor: PerformanceMonitor, caplog: pytest.LogCaptureFixture) -> None:
    """The switch can be read and set, and says so in the log when a method moves it."""
    with caplog.at_level(logging.INFO, LOGGER):
        monitor.disable()
        assert not monitor._enabled
        monitor.record_metric("op", 0.5)
        assert monitor.get_stats("op") is None
        monitor.enable()
        assert monitor._enabled
    assert [record.getMessage() for record in caplog.records] == [
        "PerformanceMonitor: Monitoring disabled",
        "PerformanceMonitor: Monitoring enabled",
    ]
    monitor._enabled = False
    assert not monitor.enabled
    monitor._enabled = True
    assert monitor.enabled


@pytest.mark.parametrize(
    ("data", "percentile", "expected"),
    [([], 95, 0.0), ([3.0], 99, 3.0), ([4.0, 1.0, 3.0, 2.0], 50, 2.5), ([2.0, 1.0], 100, 2.0)],
)
def test_percentile(
    monitor: PerformanceMonitor, data: list[float], percentile: float, expected: float
) -> None:
    """Percentiles interpolate between the closest ranks of unsorted data."""
    assert monitor._percentile(data, percentile) == expected


def test_percentile_agrees(monitor: PerformanceMonitor) -> None:
    """The function gives the percentiles that the statistics contain."""
    durations = [0.1 * step for step in (3, 9, 1, 7, 2, 8, 5)]
    for duration in durations:
        monitor.record_metric("op", duration)
    stats = monitor.get_stats("op")
    assert stats is not None
    assert monitor._percentile(durations, 95) == pytest.approx(stats.p95_duration)
    assert monitor._percentile(durations, 99) == pytest.approx(stats.p99_duration)


def test_regressions(monitor: PerformanceMonitor, caplog: pytest.LogCaptureFixture) -> None:
    """Each regression is returned, and logged once under the old name."""
    monitor.record_metric("op", 0.1)
    baseline = monitor.get_all_stats()
    monitor.clear_metrics("op")
    monitor.record_metric("op", 0.15)
    line = "Performance regression in op: 0.100s -> 0.150s (50.0% increase)"
    assert monitor.detect_regressions(baseline) == [line]
    assert [(r.name, r.levelname, r.getMessage()) for r in caplog.records] == [
        (LOGGER, "WARNING", f"PerformanceMonitor: {line}")
    ]


def test_clear(monitor: PerformanceMonitor) -> None:
    """One operation is cleared by its name, and all by None or an empty name."""
    for name in ("a", "b"):
        monitor.record_metric(name, 0.1)
    monitor.clear_metrics("a")
    assert list(monitor.get_all_stats()) == ["b"]
    assert (len(monitor._metrics["a"]), len(monitor._metrics["b"])) == (0, 1)
    monitor.clear_metrics("")
    assert monitor.get_all_stats() == {}
