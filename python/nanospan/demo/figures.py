"""The demo's results: operation statistics, and gains over serving requests without a pool."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanospan import PerformanceMonitor
    from nanospan.demo.workload import Timings

PUBLISHED_DURATIONS: Mapping[str, float | None] = {
    "connection_pool_access": 0.005,
    "pgvector_registration": None,
    "pool_health_check": 0.020,
    "service_access": 0.003,
    "buffer_flush": None,
    "m0_operation": 0.054,
    "m1_operation": 0.057,
    "m2_operation": 0.052,
    "query": None,
}
"""The demo's operations, with the durations in seconds published for MemFuse 0.3.1, or None."""

PUBLISHED_LATENCY_REDUCTION = 0.70
PUBLISHED_THROUGHPUT_RATIO = 2.5
PUBLISHED_ACQUISITION_REDUCTION = 0.85
"""The gains over the naive way published for MemFuse 0.3.1."""


@dataclass(frozen=True)
class OperationFigures:
    """One row of the demo's operations table, with times in seconds.

    Attributes:
        operation: The operation's name.
        count: The total number of samples; the other figures cover only the monitor's window.
        mean: The arithmetic mean.
        p50: The median.
        p95: The 95th percentile.
        p99: The 99th percentile.
        threshold: The operation's threshold in seconds, or None if it has none.
        verdict: ``within`` if the 95th percentile is at most the threshold, ``over`` if it is
            higher, ``none`` if there is no threshold.
        published: The duration published for MemFuse 0.3.1, or None if none was published.
    """

    operation: str
    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    threshold: float | None
    verdict: Literal["within", "over", "none"]
    published: float | None


@dataclass(frozen=True)
class GainFigures:
    """One row of the demo's gains table, which compares serving with and without a pool.

    Attributes:
        figure: The name of the figure, such as ``throughput``.
        unit: ``seconds`` or ``requests per second``.
        naive: The figure's value for the naive way, which serves requests without a pool.
        nanospan: The figure's value for the service, which uses nanospan's pool.
        kind: ``reduction`` if the gain is the fraction by which nanospan's value is below the naive
            value; ``ratio`` if the gain is nanospan's value divided by the naive value.
        gain: The gain, as defined by ``kind``.
        published: The gain published for MemFuse 0.3.1.
    """

    figure: str
    unit: str
    naive: float
    nanospan: float
    kind: Literal["reduction", "ratio"]
    gain: float
    published: float

    @property
    def is_better(self) -> bool:
        """Whether the gain is larger than the published gain."""
        return self.gain > self.published


def operation_figures(monitor: PerformanceMonitor) -> list[OperationFigures]:
    """Return a row of figures for each of the demo's operations that has samples."""
    thresholds = monitor.thresholds
    figures = []
    for operation, published in PUBLISHED_DURATIONS.items():
        stats = monitor.get_stats(operation)
        if stats is None:
            continue
        threshold = thresholds.get(operation)
        verdict: Literal["within", "over", "none"] = "none"
        if threshold is not None:
            verdict = "within" if stats.lifetime_p95 <= threshold else "over"
        figures.append(
            OperationFigures(
                operation=operation,
                count=stats.total_count,
                mean=stats.lifetime_avg,
                p50=stats.lifetime_p50,
                p95=stats.lifetime_p95,
                p99=stats.lifetime_p99,
                threshold=threshold,
                verdict=verdict,
                published=published,
            )
        )
    return figures


def gain_figures(naive: Timings, nanospan: Timings) -> list[GainFigures]:
    """Return the rows of the gains table, which compares the service with the naive way."""
    return [
        _reduction(
            "request latency, mean",
            naive.latencies,
            nanospan.latencies,
            PUBLISHED_LATENCY_REDUCTION,
        ),
        _throughput(naive, nanospan),
        _reduction(
            "acquisition latency, mean",
            naive.acquisitions,
            nanospan.acquisitions,
            PUBLISHED_ACQUISITION_REDUCTION,
        ),
    ]


def _reduction(
    figure: str, naive: Sequence[float], nanospan: Sequence[float], published: float
) -> GainFigures:
    before, after = statistics.fmean(naive), statistics.fmean(nanospan)
    return GainFigures(figure, "seconds", before, after, "reduction", 1 - after / before, published)


def _throughput(naive: Timings, nanospan: Timings) -> GainFigures:
    before, after = (way.concurrent_requests / way.concurrent_seconds for way in (naive, nanospan))
    return GainFigures(
        "throughput",
        "requests per second",
        before,
        after,
        "ratio",
        after / before,
        PUBLISHED_THROUGHPUT_RATIO,
    )


@dataclass(frozen=True)
class Report:
    """The results of a run of the demo.

    Attributes:
        setup: The conditions of the run: versions, processors, turns, clients, server settings.
        operations: The rows of the operations table.
        gains: The rows of the gains table.
        rows: The final number of rows in each database table, keyed by table; the same with and
            without a pool.
        seconds: The time from the start of the server to the last request, in seconds.
    """

    setup: dict[str, Any]
    operations: list[OperationFigures]
    gains: list[GainFigures]
    rows: dict[str, int]
    seconds: float
