"""A monitor as the engine sees it."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanospan.alerts.engine import SourceGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nanospan import MonitorSnapshot, PerformanceMonitor
    from nanospan.alerts.rules import ChangeRule

__all__ = ["MonitorSource"]


class MonitorSource:
    """The source of the state of a monitor, which is not kept alive by being watched.

    Args:
        monitor: The monitor.
        regression: Imports :mod:`nanospan.regression`, which rules on regressions and changes ask.
    """

    def __init__(
        self, monitor: PerformanceMonitor, regression: Callable[[], Any] | None = None
    ) -> None:
        self._monitor = weakref.ref(monitor)
        self._import_regression = regression
        self._loaded: dict[Path, tuple[int, Any]] = {}

    def _get(self) -> PerformanceMonitor:
        monitor = self._monitor()
        if monitor is None:
            raise SourceGoneError
        return monitor

    def snapshot(self) -> MonitorSnapshot:
        """The state of all operations."""
        return self._get().snapshot()

    def durations_since(self, operation: str, moment: int) -> tuple[list[float], int]:
        """What is new in an operation's window since a moment, in seconds, and its own moment."""
        return self._get()._durations_since(operation, moment)  # noqa: SLF001 - no copies

    def _regression(self) -> Any:
        if self._import_regression is None:
            raise RuntimeError("these alerts cannot compare; use monitor.alerts")
        return self._import_regression()

    def detector(self, rule: ChangeRule) -> Any:
        """A new detector with a rule's settings."""
        return self._regression().OnlineDetector(rule.warmup, rule.batch, rule.k, rule.h)

    def compare(self, baseline: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """What ``monitor.compare(baseline, **options)`` gives."""
        if isinstance(baseline, (str, os.PathLike)):
            baseline = self._read(Path(baseline))
        monitor: Any = self._get()
        comparisons: Mapping[str, Any] = monitor.compare(baseline, **options)
        return comparisons

    def _read(self, path: Path) -> Any:
        """The baseline in a file, read again when the file changes."""
        changed = path.stat().st_mtime_ns
        known = self._loaded.get(path)
        if known is None or known[0] != changed:
            known = self._loaded[path] = (changed, self._regression().Baseline.load(path))
        return known[1]
