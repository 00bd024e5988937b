"""Access to the monitor data on which alert rules are evaluated."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nanospan.regression import Baseline, OnlineDetector
from nanospan.regression.live import compare_windows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan._core import MonitorSnapshot
    from nanospan.alerts.rules import ChangeRule, RegressionRule
    from nanospan.recorder import Recorder
    from nanospan.regression import Comparison

__all__ = ["MonitorGoneError", "MonitorObservations", "Observations"]


class MonitorGoneError(Exception):
    """The monitor has been freed, so there is no data left to evaluate rules on."""


class Observations(Protocol):
    """The monitor data on which alert rules are evaluated.

    Methods may be called from any thread.
    """

    def check(self) -> None:
        """Raise MonitorGoneError if the monitor no longer exists."""

    def snapshot(self) -> MonitorSnapshot:
        """Return a snapshot of all operations."""

    def durations_since(self, operation: str, moment: int) -> tuple[list[float], int]:
        """Return the durations recorded after ``moment``, and the moment for the next call.

        Durations are in seconds, and only those still in the operation's window are returned. Pass
        0 as ``moment`` in the first call, and in each later call the moment that the previous call
        returned. Moments are readings of a monotonic clock, in ticks.
        """

    def detector(self, rule: ChangeRule) -> OnlineDetector:
        """Create an online change detector with the rule's settings."""

    def compare(self, rule: RegressionRule) -> Mapping[str, Comparison]:
        """Compare each operation with the rule's baseline; return results keyed by operation."""


class MonitorObservations:
    """Reads the data for alert rules from a live monitor.

    Args:
        monitor: The monitor to read. Only a weak reference to it is kept.
    """

    def __init__(self, monitor: Recorder) -> None:
        self._monitor = weakref.ref(monitor)
        self._loaded: dict[Path, tuple[int, Baseline]] = {}

    def _get(self) -> Recorder:
        monitor = self._monitor()
        if monitor is None:
            raise MonitorGoneError
        return monitor

    def check(self) -> None:
        """Raise MonitorGoneError if the monitor no longer exists."""
        self._get()

    def snapshot(self) -> MonitorSnapshot:
        """Return a snapshot of all operations."""
        return self._get().snapshot()

    def durations_since(self, operation: str, moment: int) -> tuple[list[float], int]:
        """Return the durations recorded after ``moment``, and the moment for the next call."""
        return self._get()._durations_since(operation, moment)  # noqa: SLF001 - avoids copying

    def detector(self, rule: ChangeRule) -> OnlineDetector:
        """Create an online change detector with the rule's settings."""
        return OnlineDetector(rule.warmup, rule.batch, rule.k, rule.h)

    def compare(self, rule: RegressionRule) -> Mapping[str, Comparison]:
        """Compare each operation with the rule's baseline; return results keyed by operation."""
        baseline = rule.baseline
        if isinstance(baseline, (str, os.PathLike)):
            baseline = self._read(Path(baseline))
        return compare_windows(self._get(), baseline, fdr=rule.fdr, min_effect=rule.min_effect)

    def _read(self, path: Path) -> Baseline:
        """Return the baseline saved in a file, re-reading the file only if it has changed."""
        changed = path.stat().st_mtime_ns
        known = self._loaded.get(path)
        if known is None or known[0] != changed:
            known = self._loaded[path] = (changed, Baseline.load(path))
        return known[1]
