"""Fixtures and settings for all tests."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from nanospan import PerformanceMonitor, PerformanceStats, get_performance_monitor

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # not installed for the tests without a GIL
    pass
else:
    # Examples have no time limits, so that tests do not depend on the machine's speed.
    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("patient")


def pytest_configure() -> None:
    """Give the programs that tests start the same environment as in a user's terminal.

    A background job of a script ignores SIGINT, and a program that is started with SIGINT ignored
    keeps ignoring it, Python included. A pytest or pytest-benchmark that finds the name of a
    pytest-xdist worker in its environment takes itself for that worker.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTEST_XDIST_WORKER", None)


@pytest.fixture
def monitor() -> PerformanceMonitor:
    """Return a new monitor."""
    return PerformanceMonitor()


@pytest.fixture
def process_monitor() -> Iterator[PerformanceMonitor]:
    """Yield the process-wide monitor, emptied before and after."""
    monitor = get_performance_monitor()
    monitor.clear_metrics()
    yield monitor
    monitor.clear_metrics()


@pytest.fixture
def stats(process_monitor: PerformanceMonitor) -> Callable[[], PerformanceStats | None]:
    """Return a function that returns the process-wide monitor's statistics for ``op``."""
    return lambda: process_monitor.get_stats("op")
