"""Statistics of an operation's samples: those in its window, and all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class PerformanceStats:
    """Statistics of an operation's samples. Durations are in seconds.

    Most figures cover the samples in the operation's window: the latest 1,000, unless the monitor
    was created with another ``max_metrics_per_operation``. Figures whose names begin with
    ``lifetime_``, ``total_count`` and ``violation_count`` cover all samples since the operation
    was first recorded or last cleared. A slow sample that has left the window shows only there.

    Percentiles of the window interpolate linearly between closest ranks (type 7 of Hyndman and
    Fan, "Sample Quantiles in Statistical Packages", 1996; NumPy's default). Lifetime percentiles
    equal those of the window as long as the window holds all samples. After that they are
    estimated from the histogram, to within 0.55 %.

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
        total_count: The number of all samples.
        violation_count: The number of all samples over the threshold.
        lifetime_avg: The arithmetic mean of all samples.
        lifetime_min: The shortest duration of all samples.
        lifetime_max: The longest duration of all samples.
        lifetime_p50: The median of all samples.
        lifetime_p95: The 95th percentile of all samples.
        lifetime_p99: The 99th percentile of all samples.
        lifetime_p999: The 99.9th percentile of all samples.
        lifetime_success_rate: The share of successes among all samples that were not cancelled,
            from 0 to 1; 1 if all were cancelled.
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
    lifetime_avg: float = 0.0
    lifetime_min: float = 0.0
    lifetime_max: float = 0.0
    lifetime_p50: float = 0.0
    lifetime_p95: float = 0.0
    lifetime_p99: float = 0.0
    lifetime_p999: float = 0.0
    lifetime_success_rate: float = 1.0

    @property
    def cancelled_rate(self) -> float:
        """The share of cancelled samples in the window, from 0 to 1; 0 if there are no samples."""
        return self.cancelled_count / self.count if self.count else 0.0
