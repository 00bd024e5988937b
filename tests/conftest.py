"""Fixtures and settings of all tests."""

import os
import signal

import pytest

from nanospan import PerformanceMonitor

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # not among what the tests without a GIL install
    pass
else:
    # Neither an example nor making one has a time limit: a busy machine takes as long as it takes.
    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("patient")


def pytest_configure() -> None:
    """Give the programs that tests start the surroundings they have in a user's terminal.

    A background job of a script ignores SIGINT, and a program that is started with SIGINT ignored
    keeps ignoring it, Python included. A pytest or pytest-benchmark that finds the name of a
    pytest-xdist worker in its environment takes itself for that worker.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTEST_XDIST_WORKER", None)


@pytest.fixture
def monitor() -> PerformanceMonitor:
    """A monitor of the test's own."""
    return PerformanceMonitor()
