"""An operation in figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanospan.values.recordings import RecordedOperation


@dataclass(frozen=True, slots=True)
class Summary:
    """One operation in figures: durations in seconds; `None` for what the source does not know.

    Quantiles are those of the histogram, within 0.55 %; the other figures are exact.

    Attributes:
        operation: Its name.
        count: Samples since start or the last clear.
        error_count: Failed ones.
        cancelled_count: Cancelled ones.
        violation_count: Those over the threshold.
        threshold: The threshold in force.
        sum: All durations together.
        mean: Arithmetic mean; `None` without a sample, as for the next.
        min: Shortest.
        p50: Median; further percentiles follow.
        max: Longest.
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
    """Condense an operation into its figures."""
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
