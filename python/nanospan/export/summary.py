"""Summarise an operation in figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanospan.values.recordings import RecordedOperation


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one operation: durations in seconds, and None for unknown figures.

    Quantiles are estimates from the histogram, within 0.55 %; the other figures are exact.

    Attributes:
        operation: The operation's name.
        count: The number of samples since start or the last clear.
        error_count: The number of failed samples.
        cancelled_count: The number of cancelled samples.
        violation_count: The number of samples over the threshold.
        threshold: The current threshold.
        sum: The sum of all durations.
        mean: The arithmetic mean; None without a sample, like the attributes that follow.
        min: The shortest duration.
        p50: The median, followed by further percentiles.
        max: The longest duration.
    """

    operation: str
    count: int
    error_count: int | None
    cancelled_count: int | None
    violation_count: int | None
    threshold: float | None
    sum: float
    mean: float | None
    min: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float | None


def summarise(recorded: RecordedOperation) -> Summary:
    """Return the figures of an operation."""
    histogram = recorded.histogram
    return Summary(
        operation=recorded.operation,
        count=histogram.count,
        error_count=recorded.error_count,
        cancelled_count=recorded.cancelled_count,
        violation_count=recorded.violation_count,
        threshold=recorded.threshold,
        sum=histogram.sum,
        mean=histogram.sum / histogram.count if histogram.count else None,
        min=histogram.min,
        p50=histogram.quantile(0.5),
        p90=histogram.quantile(0.9),
        p95=histogram.quantile(0.95),
        p99=histogram.quantile(0.99),
        p999=histogram.quantile(0.999),
        max=histogram.max,
    )
