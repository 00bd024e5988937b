"""Hot-path latency monitoring cheap enough to leave on everywhere."""

from __future__ import annotations

from nanospan._core import (
    MonitorSnapshot,
    Operation,
    OperationSnapshot,
    Snapshot,
    Span,
    __version__,
)
from nanospan.measurements import Measurement
from nanospan.metrics import PerformanceMetric, PerformanceStats
from nanospan.monitor import PerformanceMonitor, get_performance_monitor, track_performance

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
