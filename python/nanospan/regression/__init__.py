"""Whether an operation became slower: verdicts on samples, histories and streams of durations."""

from __future__ import annotations

from nanospan._core import OnlineDetector, change_points, compare, compare_many
from nanospan.regression.baseline import Baseline, OperationBaseline
from nanospan.regression.documents import DataFileError
from nanospan.regression.readers import History, SampleFile, read_histories, read_samples
from nanospan.regression.results import Alarm, ChangePoint, Comparison, QuantileChange, Verdict

__all__ = [
    "Alarm",
    "Baseline",
    "ChangePoint",
    "Comparison",
    "DataFileError",
    "History",
    "OnlineDetector",
    "OperationBaseline",
    "QuantileChange",
    "SampleFile",
    "Verdict",
    "change_points",
    "compare",
    "compare_many",
    "read_histories",
    "read_samples",
]
