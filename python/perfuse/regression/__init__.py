"""Whether an operation became slower: verdicts on samples, histories and streams of durations."""

from __future__ import annotations

from perfuse._core import OnlineDetector, change_points, compare, compare_many
from perfuse.regression.baseline import Baseline, OperationBaseline
from perfuse.regression.documents import DataFileError
from perfuse.regression.readers import History, SampleFile, read_histories, read_samples
from perfuse.regression.results import Alarm, ChangePoint, Comparison, QuantileChange, Verdict

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
