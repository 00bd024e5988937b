"""Statistics of the samples in an operation's window."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class PerformanceStats:
    """Statistics of the samples in an operation's window. Durations are in seconds.

    Percentiles interpolate linearly between closest ranks (type 7 of Hyndman and Fan, "Sample
    Quantiles in Statistical Packages", 1996; NumPy's default).

    Attributes:
        operation: The operation's name.
        count: The number of samples in the window.
        avg_duration: The arithmetic mean.
        min_duration: The shortest duration.
        max_duration: The longest duration.
        p95_duration: The 95th percentile.
        p99_duration: The 99th percentile.
        success_rate: The share of successes among the samples that were not cancelled, from 0 to
            1; 1 if all were cancelled.
        last_updated: The Unix time in seconds at which the latest sample ended.
        p50_duration: The median.
        p999_duration: The 99.9th percentile.
        stddev_duration: The population standard deviation (the divisor is ``count``).
        error_count: The number of failed samples in the window.
        cancelled_count: The number of cancelled samples in the window.
        total_count: The number of samples since the operation was first recorded or last cleared.
        violation_count: The number of samples over the threshold since the operation was first
            recorded or last cleared.
    """

    operation: str
    count: int
    avg_duration: float
    min_duration: float
    max_duration: float
    p95_duration: float
    p99_duration: float
    success_rate: float
    last_updated: float
    p50_duration: float = 0.0
    p999_duration: float = 0.0
    stddev_duration: float = 0.0
    error_count: int = 0
    cancelled_count: int = 0
    total_count: int = 0
    violation_count: int = 0

    @property
    def cancelled_rate(self) -> float:
        """The share of cancelled samples in the window, from 0 to 1; 0 if there are no samples."""
        return self.cancelled_count / self.count if self.count else 0.0
