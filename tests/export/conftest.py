"""Fixtures for the export tests."""

import asyncio

import pytest

from nanospan import PerformanceMonitor


@pytest.fixture
def recorded() -> PerformanceMonitor:
    """Return a monitor with successful, failed and cancelled samples, violations and metadata."""
    monitor = PerformanceMonitor()
    monitor.set_threshold("query", 0.1)
    query = monitor.operation("query")
    query.record(0.01)
    query.record(0.2, True, {"user": 7, "tags": ["a", "b"]})
    query.record(0.02, False, {"error": "boom"})
    with pytest.raises(asyncio.CancelledError), monitor.track_operation("query"):
        raise asyncio.CancelledError
    monitor.operation("parse").record(0.0)
    return monitor
