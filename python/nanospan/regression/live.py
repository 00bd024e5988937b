"""Compare the samples that a recorder currently holds with earlier samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanospan._core import compare_many
from nanospan.regression.effects import FDR, MIN_EFFECT, tail_min_effect_beside
from nanospan.values.baselines import Baseline
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan.recorder import Recorder
    from nanospan.values.comparisons import Comparison
    from nanospan.values.statistics import PerformanceStats

MEAN_FACTOR = 1.2
"""A mean of more than this multiple of the baseline mean is reported, as in MemFuse 0.3.1."""


def mean_regressions(
    recorder: Recorder, baseline_stats: Mapping[str, PerformanceStats]
) -> list[str]:
    """Return a line for each operation whose mean duration exceeds 1.2 times the baseline's.

    Args:
        recorder: The recorder that holds the current samples.
        baseline_stats: The earlier statistics to compare with, keyed by operation. Operations that
            have no samples now, or whose earlier mean is zero, are skipped.
    """
    lines = []
    for operation, baseline in baseline_stats.items():
        current = recorder.get_stats(operation)
        before = baseline.avg_duration
        if current is None or before <= 0:
            continue
        after = current.avg_duration
        if after > before * MEAN_FACTOR:
            increase = (after - before) / before * 100
            lines.append(
                f"Performance regression in {shorten(operation)}: "
                f"{before:.3f}s -> {after:.3f}s ({increase:.1f}% increase)"
            )
    return lines


def compare_windows(
    recorder: Recorder,
    baseline: Baseline,
    *,
    fdr: float = FDR,
    min_effect: float = MIN_EFFECT,
    tail_min_effect: float | None = None,
) -> dict[str, Comparison]:
    """Compare a recorder's current samples of each operation with those of a baseline.

    Args:
        recorder: The recorder that holds the current samples.
        baseline: The samples to compare with.
        fdr: The expected share of false positives among the reported changes, between 0 and 1.
        min_effect: The smallest change to report in the median, as a fraction of the median.
        tail_min_effect: The smallest change to report in a tail quantile, as a fraction of the
            quantile; by default 0.10 or ``min_effect``, whichever is larger.

    Returns:
        A comparison for each operation in the baseline that also has samples in the recorder,
        keyed by the operation's name.

    Raises:
        TypeError: If ``baseline`` is not a Baseline.
        ValueError: If ``fdr``, ``min_effect`` or ``tail_min_effect`` is out of range.
    """
    if not isinstance(baseline, Baseline):
        raise TypeError(
            f"baseline must be a Baseline, got {type(baseline).__name__}; "
            "use Baseline.load() to read one from a file"
        )
    if tail_min_effect is None:
        tail_min_effect = tail_min_effect_beside(min_effect)
    return compare_many(
        {
            name: (operation.samples, durations)
            for name, operation in baseline.operations.items()
            if (durations := recorder.durations(name))
        },
        fdr=fdr,
        min_effect=min_effect,
        tail_min_effect=tail_min_effect,
    )
