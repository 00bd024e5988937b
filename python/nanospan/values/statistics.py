"""Statistics of an operation's window."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class PerformanceStats:
    """Statistics of an operation's window, its most recent samples. Durations are seconds.

    Percentiles interpolate linearly between closest ranks (type 7 of Hyndman and Fan, "Sample
    Quantiles in Statistical Packages", 1996; NumPy's default).

    Attributes:
        operation: The operation's name.
        count: Samples in the window.
        avg_duration: Arithmetic mean.
        min_duration: Shortest.
        max_duration: Longest.
        p95_duration: 95th percentile.
        p99_duration: 99th percentile.
        success_rate: Share of successes among the samples that were not cancelled, 0 to 1; 1 if
            all were.
        last_updated: When the latest sample ended, as Unix time in seconds.
        p50_duration: Median.
        p999_duration: 99.9th percentile.
        stddev_duration: Standard deviation of the window itself (divided by ``count``).
        error_count: Failed samples in the window.
        cancelled_count: Cancelled samples in the window.
        total_count: Samples since start or the last clear.
        violation_count: Samples over the threshold since start or the last clear.
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
