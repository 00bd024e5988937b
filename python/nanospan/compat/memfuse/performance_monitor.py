"""Stands in for MemFuse's module ``memfuse_core.monitoring.performance_monitor``."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import nanospan
from nanospan.monitor import PerformanceMonitor as _PerformanceMonitor
from nanospan.regression.live import mean_regressions
from nanospan.tracking import track_performance
from nanospan.values.messages import shorten
from nanospan.values.samples import PerformanceMetric
from nanospan.values.statistics import PerformanceStats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanospan.recorder import AlertCallback

__all__ = [
    "PerformanceMetric",
    "PerformanceMonitor",
    "PerformanceStats",
    "get_performance_monitor",
    "track_performance",
]

logger = logging.getLogger("memfuse_core.monitoring.performance_monitor")


class PerformanceMonitor(_PerformanceMonitor):
    """A ``nanospan.PerformanceMonitor`` with the private names and log lines of MemFuse's.

    The private attributes are read-only copies of the monitor's state. Changing one raises an
    exception, because it would have no effect.
    """

    def enable(self) -> None:
        """Record samples again, and log that."""
        super().enable()
        logger.info("PerformanceMonitor: Monitoring enabled")

    def disable(self) -> None:
        """Ignore samples until ``enable`` is called, and log that."""
        super().disable()
        logger.info("PerformanceMonitor: Monitoring disabled")

    def set_threshold(self, operation: str, threshold_seconds: float | None) -> None:
        """Set the duration over which a sample is a violation; 0 or None removes the threshold."""
        super().set_threshold(operation, threshold_seconds or None)
        logger.debug(
            "PerformanceMonitor: Set threshold for %s: %ss", shorten(operation), threshold_seconds
        )

    def clear_metrics(self, operation: str | None = None) -> None:
        """Forget the samples of one operation, or of all."""
        super().clear_metrics(operation or None)
        if operation:
            logger.debug("PerformanceMonitor: Cleared metrics for %s", shorten(operation))
        else:
            logger.debug("PerformanceMonitor: Cleared all metrics")

    def detect_regressions(self, baseline_stats: Mapping[str, PerformanceStats]) -> list[str]:
        """Report every operation whose mean duration is more than 1.2 times its baseline mean.

        See ``nanospan.PerformanceMonitor.detect_regressions``; only the log lines differ.
        """
        regressions = mean_regressions(self, baseline_stats)
        for line in regressions:
            logger.warning("PerformanceMonitor: %s", line)
        return regressions

    @property
    def _enabled(self) -> bool:
        return self.enabled

    @_enabled.setter
    def _enabled(self, value: bool) -> None:
        (super().enable if value else super().disable)()

    @property
    def _thresholds(self) -> Mapping[str, float]:
        return self.thresholds

    @property
    def _metrics(self) -> Mapping[str, tuple[PerformanceMetric, ...]]:
        """The samples in each operation's window, oldest first; none for unknown operations."""
        samples = {
            operation: tuple(PerformanceMetric(**sample) for sample in samples)
            for operation, samples in self.export_metrics().items()
        }
        return MappingProxyType(_Windows(samples))

    @property
    def _alert_callbacks(self) -> tuple[AlertCallback, ...]:
        return self._events.callbacks

    def _percentile(self, data: Sequence[float], percentile: float) -> float:
        """Interpolate linearly between the closest ranks; 0 if there are no data."""
        if not data:
            return 0.0
        ordered = sorted(data)
        rank, fraction = divmod(percentile / 100 * (len(ordered) - 1), 1)
        lower, upper = ordered[int(rank)], ordered[min(int(rank) + 1, len(ordered) - 1)]
        return lower + (upper - lower) * fraction


class _Windows(dict[str, tuple[PerformanceMetric, ...]]):
    def __missing__(self, operation: str) -> tuple[PerformanceMetric, ...]:
        return ()


def get_performance_monitor() -> PerformanceMonitor:
    """Return the process-wide monitor, which ``nanospan.get_performance_monitor`` also returns.

    Its class becomes this module's ``PerformanceMonitor``, so that it has the private names.
    """
    monitor = nanospan.get_performance_monitor()
    if type(monitor) is _PerformanceMonitor:
        monitor.__class__ = PerformanceMonitor
    return cast("PerformanceMonitor", monitor)
