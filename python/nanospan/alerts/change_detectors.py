"""Change detection in live data, with one detector per rule and operation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanospan.alerts.states import Finding

if TYPE_CHECKING:
    from nanospan.alerts.observations import Observations
    from nanospan.alerts.rules import ChangeRule
    from nanospan.regression import Alarm, OnlineDetector

__all__ = ["ChangeDetectors"]


@dataclass(slots=True)
class _Watch:
    detector: OnlineDetector
    latest: int = 0  # the detector has been fed all samples up to this moment
    fired_at: float | None = None  # on the engine's clock
    ratio: float | None = None


class ChangeDetectors:
    """The online detectors of all change rules, one per rule and operation.

    Not thread-safe: used only by the engine's thread.
    """

    def __init__(self) -> None:
        self._watches: dict[tuple[str, str], _Watch] = {}

    def retain(self, rules: set[str]) -> None:
        """Drop the detectors of all rules except those whose names are in ``rules``."""
        self._watches = {key: watch for key, watch in self._watches.items() if key[0] in rules}

    def update(
        self, rule: ChangeRule, operation: str, observations: Observations, now: float
    ) -> Finding:
        """Feed the operation's new samples to its detector, and return the rule's finding."""
        key = (rule.name, operation)
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch(observations.detector(rule))
        durations, watch.latest = observations.durations_since(operation, watch.latest)
        for duration in durations:
            alarm = watch.detector.update(duration)
            if alarm is not None and _is_watched(rule, alarm):
                watch.fired_at = now
                watch.ratio = alarm.ratio if math.isfinite(alarm.ratio) else None
        if watch.fired_at is not None and now - watch.fired_at >= rule.hold_seconds:
            watch.fired_at = None
        is_reported = watch.fired_at is not None
        return Finding(is_reported, not is_reported, watch.ratio)


def _is_watched(rule: ChangeRule, alarm: Alarm) -> bool:
    if rule.direction == "any":
        return True
    return (alarm.ratio > 1) == (rule.direction == "up")
