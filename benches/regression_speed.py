"""Time nanospan.regression's verdicts against SciPy, apache-otava and ruptures.

python -m venv peers
peers/bin/pip install . apache-otava ruptures
peers/bin/python benches/regression_speed.py

Use a separate venv, because apache-otava requires other versions of NumPy and SciPy.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import ruptures
from otava.analysis import compute_change_points
from scipy.stats import mannwhitneyu

from nanospan.regression import OnlineDetector, change_points, compare

if TYPE_CHECKING:
    from collections.abc import Callable


def median_seconds(rounds: int, *subjects: Callable[[], object]) -> list[float]:
    """Run the subjects alternately; return the median time of each, in seconds."""
    taken: list[list[float]] = [[] for _ in subjects]
    for _ in range(rounds):
        for subject, times in zip(subjects, taken, strict=True):
            start = time.perf_counter()
            subject()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


def main() -> None:
    """Print the times of nanospan and its peers; exit with status 1 if a limit is missed."""
    random = np.random.default_rng(7)
    values = random.lognormal(0, 0.3, 10_000) * np.repeat((1, 1.3, 0.9, 1.2, 1), 2_000)
    listed = values.tolist()
    ours, otava, pelt = median_seconds(
        3,
        lambda: change_points(values),
        lambda: compute_change_points(listed),
        lambda: (
            ruptures.KernelCPD(kernel="rbf", min_size=3).fit(np.log(values)[:2_000]).predict(pen=3)
        ),
    )
    before, after = random.lognormal(0, 0.3, 10_000), random.lognormal(0, 0.3, 10_000)
    two, scipy = median_seconds(
        25,
        lambda: compare(before, after),
        lambda: mannwhitneyu(before, after),
    )
    stream = random.lognormal(0, 0.3, 100_000).tolist()

    def feed() -> None:
        update = OnlineDetector().update
        for value in stream:
            update(value)

    def loop() -> None:
        for _ in stream:
            pass

    fed, empty = median_seconds(15, feed, loop)
    update = (fed - empty) / len(stream) * 1e9
    rows = (
        ("change_points, 10,000 values", ours, otava, "apache-otava", 0.12),
        ("compare, 2 x 10,000 values", two, scipy, "scipy mannwhitneyu", 3.0),
    )
    for name, mine, peer, whose, limit in rows:
        sys.stdout.write(
            f"{name}: {mine * 1e3:.2f} ms; {whose} {peer * 1e3:.2f} ms; "
            f"ratio {mine / peer:.3f}, at most {limit}\n"
        )
    sys.stdout.write(f"  ruptures KernelCPD, 2,000 values: {pelt * 1e3:.2f} ms\n")
    sys.stdout.write(f"OnlineDetector.update: {update:.1f} ns, called from Python, at most 50 ns\n")
    sys.exit(0 if ours <= 0.12 * otava and two <= 3 * scipy and update <= 50 else 1)


if __name__ == "__main__":
    main()
