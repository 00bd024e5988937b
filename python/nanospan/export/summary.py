"""Summarise an operation's durations: counts, mean, quantiles and extremes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanospan.values.recordings import RecordedOperation


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary statistics of one operation. Durations are in seconds; unknown values are None.

    Quantiles are estimated from the histogram, to within 0.55 %; all other values are exact.

    Attributes:
        operation: The operation's name.
        count: The number of samples since recording began or since the last ``clear()``.
        error_count: The number of failed samples.
        cancelled_count: The number of cancelled samples.
        cancelled_rate: The share of cancelled samples, from 0 to 1; None if there are no samples.
        violation_count: The number of samples that exceeded the threshold.
        threshold: The current threshold, or None if no threshold is set.
        sum: The sum of all durations.
        mean: The arithmetic mean of the durations, or None if there are no samples.
        min: The shortest duration, or None if there are no samples.
        p50: The median duration, or None if there are no samples. ``p90``, ``p95``, ``p99`` and
            ``p999`` (99.9 %) are the other percentiles.
        max: The longest duration, or None if there are no samples.
    """

    operation: str
    count: int
    error_count: int | None
    cancelled_count: int | None
    cancelled_rate: float | None
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
    """Return a recorded operation's summary statistics."""
    histogram = recorded.histogram
    count, cancelled = histogram.count, recorded.cancelled_count
    return Summary(
        operation=recorded.operation,
        count=count,
        error_count=recorded.error_count,
        cancelled_count=cancelled,
        cancelled_rate=None if cancelled is None or not count else cancelled / count,
        violation_count=recorded.violation_count,
        threshold=recorded.threshold,
        sum=histogram.sum,
        mean=histogram.sum / count if count else None,
        min=histogram.min,
        p50=histogram.quantile(0.5),
        p90=histogram.quantile(0.9),
        p95=histogram.quantile(0.95),
        p99=histogram.quantile(0.99),
        p999=histogram.quantile(0.999),
        max=histogram.max,
    )
