"""Whether an operation became slower: verdicts on samples, histories and streams of durations."""

from __future__ import annotations

from perfuse._core import OnlineDetector, change_points, compare, compare_many
from perfuse.regression.results import Alarm, ChangePoint, Comparison, QuantileChange, Verdict

__all__ = [
    "Alarm",
    "ChangePoint",
    "Comparison",
    "OnlineDetector",
    "QuantileChange",
    "Verdict",
    "change_points",
    "compare",
    "compare_many",
]
