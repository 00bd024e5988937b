"""Tests that every public function of the replaced modules can be called as it was there."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

import nanospan
from nanospan import pool
from nanospan.compat.memfuse import global_connection_manager, performance_monitor

REQUIRED = inspect.Parameter.empty

MONITOR: dict[str, dict[str, Any]] = {
    "PerformanceMonitor": {"max_metrics_per_operation": 1000},
    "PerformanceMonitor.enable": {},
    "PerformanceMonitor.disable": {},
    "PerformanceMonitor.set_threshold": {"operation": REQUIRED, "threshold_seconds": REQUIRED},
    "PerformanceMonitor.add_alert_callback": {"callback": REQUIRED},
    "PerformanceMonitor.record_metric": {
        "operation": REQUIRED,
        "duration": REQUIRED,
        "success": True,
        "metadata": None,
    },
    "PerformanceMonitor.track_operation": {"operation": REQUIRED, "metadata": None},
    "PerformanceMonitor.get_stats": {"operation": REQUIRED},
    "PerformanceMonitor.get_all_stats": {},
    "PerformanceMonitor.detect_regressions": {"baseline_stats": REQUIRED},
    "PerformanceMonitor.clear_metrics": {"operation": None},
    "PerformanceMonitor.export_metrics": {"operation": None},
    "get_performance_monitor": {},
    "track_performance": {"operation": REQUIRED, "metadata": None},
    "PerformanceMetric": dict.fromkeys(("operation", "duration", "timestamp", "success"), REQUIRED),
    "PerformanceStats": dict.fromkeys(
        (
            "operation",
            "count",
            "avg_duration",
            "min_duration",
            "max_duration",
            "p95_duration",
            "p99_duration",
            "success_rate",
            "last_updated",
        ),
        REQUIRED,
    ),
}
MANAGER: dict[str, dict[str, Any]] = {
    "GlobalConnectionManager.get_instance": {},
    "GlobalConnectionManager.get_connection_pool": {
        "db_url": REQUIRED,
        "config": None,
        "store_ref": None,
    },
    "GlobalConnectionManager.warmup_common_pools": {"common_db_urls": None},
    "GlobalConnectionManager.close_pool": {"db_url": REQUIRED, "force": False},
    "GlobalConnectionManager.close_all_pools": {"force": False},
    "GlobalConnectionManager.reset_all_pools": {},
    "GlobalConnectionManager.is_pool_healthy": {"pool": REQUIRED, "db_url": REQUIRED},
    "GlobalConnectionManager.get_pool_statistics": {},
    "ConnectionPoolConfig.from_memfuse_config": {"config": REQUIRED},
    "get_global_connection_manager": {},
    "warmup_global_connection_pools": {"common_db_urls": None},
    "reset_global_connection_pools": {},
}
COROUTINES = {
    "GlobalConnectionManager.get_connection_pool",
    "GlobalConnectionManager.warmup_common_pools",
    "GlobalConnectionManager.close_pool",
    "GlobalConnectionManager.close_all_pools",
    "GlobalConnectionManager.reset_all_pools",
    "GlobalConnectionManager.is_pool_healthy",
    "warmup_global_connection_pools",
    "reset_global_connection_pools",
}
SETTINGS = (
    "min_size",
    "max_size",
    "timeout",
    "recycle",
    "connection_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
)


def found(module: Any, name: str) -> Any:
    """Return an attribute of the module, or of one of its classes."""
    for part in name.split("."):
        module = getattr(module, part)
    return module


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        pytest.param(module, *item, id=f"{module.__name__}-{item[0]}")
        for modules, table in (
            ((nanospan, performance_monitor), MONITOR),
            ((pool, global_connection_manager), MANAGER),
        )
        for module in modules
        for item in table.items()
    ],
)
def test_parameters(module: Any, name: str, expected: dict[str, Any]) -> None:
    """The replaced parameters come first, in order; all others are optional."""
    function = found(module, name)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    first, others = parameters[: len(expected)], parameters[len(expected) :]
    assert [parameter.name for parameter in first] == list(expected)
    for parameter in first:
        assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        if expected[parameter.name] is not REQUIRED:
            assert parameter.default == expected[parameter.name]
    assert all(
        parameter.default is not REQUIRED or parameter.kind is parameter.VAR_KEYWORD
        for parameter in others
    )
    assert inspect.iscoroutinefunction(function) == (name in COROUTINES)


def test_dataclasses() -> None:
    """The settings of a pool, and a sample's metadata, follow in the replaced order."""
    assert tuple(field.name for field in fields(pool.ConnectionPoolConfig))[:8] == SETTINGS
    assert [field.name for field in fields(nanospan.PerformanceMetric)][4:] == ["metadata"]


def test_names_of_arguments(monitor: nanospan.PerformanceMonitor) -> None:
    """Native methods accept the replaced names as keywords."""
    monitor.set_threshold(operation="op", threshold_seconds=0.5)
    monitor.record_metric(operation="op", duration=0.25, success=True, metadata=None)
    assert monitor.get_stats(operation="op") is not None
    monitor.clear_metrics(operation="op")
    assert monitor.thresholds["op"] == 0.5
