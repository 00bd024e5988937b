"""Detect changes in durations: between two samples, within a history, or in a live stream."""

from __future__ import annotations

from nanospan._core import OnlineDetector, change_points, compare, compare_many
from nanospan.values.baselines import Baseline, OperationBaseline
from nanospan.values.comparisons import Alarm, ChangePoint, Comparison, QuantileChange, Verdict
from nanospan.values.data_files import DataFileError

__all__ = [
    "Alarm",
    "Baseline",
    "ChangePoint",
    "Comparison",
    "DataFileError",
    "OnlineDetector",
    "OperationBaseline",
    "QuantileChange",
    "Verdict",
    "change_points",
    "compare",
    "compare_many",
]
