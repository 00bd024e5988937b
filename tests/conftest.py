"""Fixtures of the whole suite."""

import pytest

from nanospan import PerformanceMonitor


@pytest.fixture
def monitor() -> PerformanceMonitor:
    """A monitor of the test's own."""
    return PerformanceMonitor()
