"""Hot-path latency monitoring cheap enough to leave on, and pgvector-ready PostgreSQL pools."""

from __future__ import annotations

from nanospan import wiring as _wiring  # noqa: F401 - connects the layers
from nanospan._core import (
    MonitorSnapshot,
    Operation,
    OperationSnapshot,
    Snapshot,
    Span,
    __version__,
)
from nanospan.monitor import PerformanceMonitor, get_performance_monitor
from nanospan.tracking import track_performance
from nanospan.values.measurements import Measurement
from nanospan.values.samples import PerformanceMetric
from nanospan.values.statistics import PerformanceStats

__all__ = [
    "Measurement",
    "MonitorSnapshot",
    "Operation",
    "OperationSnapshot",
    "PerformanceMetric",
    "PerformanceMonitor",
    "PerformanceStats",
    "Snapshot",
    "Span",
    "__version__",
    "get_performance_monitor",
    "track_performance",
]
