"""Fixtures and settings for all tests."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanospan import PerformanceMonitor, PerformanceStats, get_performance_monitor

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # Hypothesis is not installed in the free-threaded test environment.
    pass
else:
    # Hypothesis examples have no time limit, so that slow machines do not fail the tests.
    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which the tests extend the corpus of the fuzz targets."""
    parser.addoption(
        "--extend-corpus",
        metavar="FOLDER",
        help="save what the tests pass to nanospan's readers as inputs for fuzz targets",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give the programs that tests start the environment of a user's terminal.

    If a script runs the tests in the background, they inherit SIGINT as ignored and would pass
    that on to every program they start, so its default handler is restored. The name of the
    pytest-xdist worker is removed from the environment, because a pytest or pytest-benchmark
    started by a test would otherwise act as that worker.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTEST_XDIST_WORKER", None)
    if folder := config.getoption("extend_corpus"):
        from nanospan_fuzz.taps import install

        install(Path(folder).resolve())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the test that takes a minute first, so that the others run beside it."""
    items.sort(key=lambda item: "tests/soak" not in item.nodeid)


@pytest.fixture
def monitor() -> PerformanceMonitor:
    """Return a new monitor."""
    return PerformanceMonitor()


@pytest.fixture
def process_monitor() -> Iterator[PerformanceMonitor]:
    """Yield the process-wide monitor; clear it before and after the test."""
    monitor = get_performance_monitor()
    monitor.clear_metrics()
    yield monitor
    monitor.clear_metrics()


@pytest.fixture
def stats(process_monitor: PerformanceMonitor) -> Callable[[], PerformanceStats | None]:
    """Return a function that gets the statistics of ``op`` from the process-wide monitor."""
    return lambda: process_monitor.get_stats("op")
