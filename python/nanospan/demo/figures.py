"""The figures of one run: statistics of each operation, and the gain over the naive way."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanospan import PerformanceMonitor
    from nanospan.demo.workload import Timings

KNOWN_MARKS: Mapping[str, float | None] = {
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
"""The demo's operations, and the seconds the system nanospan replaces is known to take for them."""

LATENCY_MARK = 0.70
THROUGHPUT_MARK = 2.5
ACQUISITION_MARK = 0.85


@dataclass(frozen=True)
class OperationFigures:
    """One line of the first table; times in seconds.

    Attributes:
        count: Samples in all; the other figures are those of the monitor's window.
        verdict: `within` when the 95th percentile does not exceed the threshold, else `over`.
        known: What the replaced system is known to take, if anything is known.
    """

    operation: str
    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    threshold: float | None
    verdict: Literal["within", "over", "none"]
    known: float | None


@dataclass(frozen=True)
class GainFigures:
    """One line of the second table.

    Attributes:
        figure: What was measured.
        unit: `seconds`, or `requests per second`.
        naive: The naive way's value.
        nanospan: The service's value.
        kind: `reduction`: how much of the naive way's value is saved, from 0 to 1;
            `ratio`: how many times the naive way's value is reached.
        gain: The gain, as `kind` says.
        mark: The gain the replaced system is known for.
    """

    figure: str
    unit: str
    naive: float
    nanospan: float
    kind: Literal["reduction", "ratio"]
    gain: float
    mark: float

    @property
    def beaten(self) -> bool:
        """Whether the gain is over the mark."""
        return self.gain > self.mark


def operation_figures(monitor: PerformanceMonitor) -> list[OperationFigures]:
    """Judge each of the demo's operations `monitor` has samples of."""
    thresholds = monitor.thresholds
    figures = []
    for operation, known in KNOWN_MARKS.items():
        stats = monitor.get_stats(operation)
        if stats is None:
            continue
        threshold = thresholds.get(operation)
        verdict: Literal["within", "over", "none"] = "none"
        if threshold is not None:
            verdict = "within" if stats.p95_duration <= threshold else "over"
        figures.append(
            OperationFigures(
                operation=operation,
                count=stats.total_count,
                mean=stats.avg_duration,
                p50=stats.p50_duration,
                p95=stats.p95_duration,
                p99=stats.p99_duration,
                threshold=threshold,
                verdict=verdict,
                known=known,
            )
        )
    return figures


def gain_figures(naive: Timings, nanospan: Timings) -> list[GainFigures]:
    """Compare the two measurements."""
    return [
        _reduction("request latency, mean", naive.latencies, nanospan.latencies, LATENCY_MARK),
        _throughput(naive, nanospan),
        _reduction(
            "acquisition latency, mean", naive.acquisitions, nanospan.acquisitions, ACQUISITION_MARK
        ),
    ]


def _reduction(
    figure: str, naive: Sequence[float], nanospan: Sequence[float], mark: float
) -> GainFigures:
    before, after = statistics.fmean(naive), statistics.fmean(nanospan)
    return GainFigures(figure, "seconds", before, after, "reduction", 1 - after / before, mark)


def _throughput(naive: Timings, nanospan: Timings) -> GainFigures:
    before, after = (way.concurrent_requests / way.concurrent_seconds for way in (naive, nanospan))
    return GainFigures(
        "throughput", "requests per second", before, after, "ratio", after / before, THROUGHPUT_MARK
    )


@dataclass(frozen=True)
class Report:
    """All a run of the demo found out.

    Attributes:
        setup: What it ran on and with: versions, processors, turns, clients, server settings.
        operations: The first table.
        gains: The second table.
        rows: Rows in each table of either database at the end.
        seconds: From the start of the server to the last request.
    """

    setup: dict[str, Any]
    operations: list[OperationFigures]
    gains: list[GainFigures]
    rows: dict[str, int]
    seconds: float
