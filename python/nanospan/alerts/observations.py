"""The state of a monitor, which rules are evaluated on."""

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
    """The monitor was garbage-collected, so there is nothing left to evaluate rules on."""


class Observations(Protocol):
    """The interface that rules are evaluated on. Methods may be called from any thread."""

    def snapshot(self) -> MonitorSnapshot:
        """Return the state of all operations."""

    def durations_since(self, operation: str, moment: int) -> tuple[list[float], int]:
        """Return the durations that an operation recorded after ``moment``, and the new moment.

        Durations are in seconds, and only those still in the operation's window are returned. Start
        with moment 0 and pass the returned one next time. Setting the system clock does not affect
        moments.
        """

    def detector(self, rule: ChangeRule) -> OnlineDetector:
        """Return a new detector with the settings of a rule."""

    def compare(self, rule: RegressionRule) -> Mapping[str, Comparison]:
        """Return how operations compare with the baseline of a rule, by operation."""


class MonitorObservations:
    """The state of a real monitor.

    Args:
        monitor: The monitor. Only a weak reference to it is kept.
    """

    def __init__(self, monitor: Recorder) -> None:
        self._monitor = weakref.ref(monitor)
        self._loaded: dict[Path, tuple[int, Baseline]] = {}

    def _get(self) -> Recorder:
        monitor = self._monitor()
        if monitor is None:
            raise MonitorGoneError
        return monitor

    def snapshot(self) -> MonitorSnapshot:
        """Return the state of all operations."""
        return self._get().snapshot()

    def durations_since(self, operation: str, moment: int) -> tuple[list[float], int]:
        """Return the durations that an operation recorded after ``moment``, and the new moment."""
        return self._get()._durations_since(operation, moment)  # noqa: SLF001 - no copies

    def detector(self, rule: ChangeRule) -> OnlineDetector:
        """Return a new detector with the settings of a rule."""
        return OnlineDetector(rule.warmup, rule.batch, rule.k, rule.h)

    def compare(self, rule: RegressionRule) -> Mapping[str, Comparison]:
        """Return how operations compare with the baseline of a rule, by operation."""
        baseline = rule.baseline
        if isinstance(baseline, (str, os.PathLike)):
            baseline = self._read(Path(baseline))
        return compare_windows(self._get(), baseline, fdr=rule.fdr, min_effect=rule.min_effect)

    def _read(self, path: Path) -> Baseline:
        """Return the baseline in a file, reading the file again only if it has changed."""
        changed = path.stat().st_mtime_ns
        known = self._loaded.get(path)
        if known is None or known[0] != changed:
            known = self._loaded[path] = (changed, Baseline.load(path))
        return known[1]
