"""Convert histograms, numbers and text to OpenTelemetry's data model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics.export import Buckets, ExponentialHistogramDataPoint

from nanospan._core import escape_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan._core import Snapshot


def histogram_point(
    histogram: Snapshot,
    attributes: Mapping[str, str],
    times: tuple[int, int],
    max_buckets: int,
    *,
    knows_extremes: bool,
) -> ExponentialHistogramDataPoint:
    """Convert a histogram to an OpenTelemetry data point, which has the same bucket bounds.

    Args:
        histogram: The histogram of durations.
        attributes: The data point's attributes.
        times: The start and end of the period covered, in Unix nanoseconds.
        max_buckets: Maximum number of non-empty buckets. A histogram with more buckets is
            converted to the finest scale at which it fits.
        knows_extremes: Whether the histogram's minimum and maximum are exact; if not, they are
            left out.
    """
    coarse = histogram.with_at_most(max_buckets)
    buckets = coarse.buckets()
    first, last = (buckets[0][0], buckets[-1][0]) if buckets else (0, -1)
    counts = [0] * (last - first + 1)
    for index, count in buckets:
        counts[index - first] = count
    return ExponentialHistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=times[0],
        time_unix_nano=times[1],
        count=histogram.count,
        sum=histogram.sum,
        scale=coarse.scale,
        zero_count=histogram.zeros,
        positive=Buckets(first, counts),
        negative=Buckets(0, []),
        flags=0,
        min=histogram.min if knows_extremes else None,  # type: ignore[arg-type] # optional in OTLP
        max=histogram.max if knows_extremes else None,  # type: ignore[arg-type]
    )


def nanoseconds(seconds: float) -> int:
    """Convert a Unix time from seconds to whole nanoseconds, as OTLP requires."""
    return int(seconds * 1e9)


def sendable(value: float) -> float:
    """Convert a number to one that OTLP can represent: a 64-bit integer or a float."""
    return value if isinstance(value, int) and -(2**63) <= value < 2**63 else float(value)


def texts(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes as text that OTLP can carry; different attributes remain different."""
    return {escape_name(key): escape_name(str(value)) for key, value in attributes.items()}
