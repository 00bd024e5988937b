"""Fixtures that undo what the stand-ins change in the process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

import nanospan
from nanospan.compat.memfuse import global_connection_manager, performance_monitor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def process_monitor() -> Iterator[performance_monitor.PerformanceMonitor]:
    """Yield the process-wide monitor as the stand-in's; turn it back after the test."""
    monitor = performance_monitor.get_performance_monitor()
    monitor.clear_metrics()
    yield monitor
    monitor.clear_metrics()
    monitor.__class__ = nanospan.PerformanceMonitor


@pytest.fixture
def manager(
    process_monitor: performance_monitor.PerformanceMonitor, monkeypatch: pytest.MonkeyPatch
) -> Iterator[global_connection_manager.GlobalConnectionManager]:
    """Yield a new instance of the stand-in's manager, which logs where pytest sees it."""
    logger = logging.getLogger("memfuse_core.services.global_connection_manager")
    monkeypatch.setattr(global_connection_manager, "logger", logger)  # may be loguru's
    global_connection_manager.GlobalConnectionManager._instance = None
    yield global_connection_manager.GlobalConnectionManager()
    global_connection_manager.GlobalConnectionManager._instance = None
