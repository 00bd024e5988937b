"""Measure how much fifty alert rules slow down the code they watch: ``python benches/alerts.py``.

Time ``with monitor.track_operation(name)`` without rules and with fifty rules, which are evaluated
ten times a second on fifty operations that are all in use. Each run alternates rounds without and
with rules and compares their medians; the last line shows the median ratio over all runs.
"""

from __future__ import annotations

import statistics
import sys
import time
from itertools import cycle, islice
from typing import get_args

from nanospan import PerformanceMonitor
from nanospan.alerts import StatisticRule
from nanospan.alerts.rules import Statistic

RUNS = 5
ROUNDS = 10
SECONDS = 0.6  # the length of a round: long enough for six evaluations
BATCH = 1000
NAMES = [f"operation_{number}" for number in range(50)]
PATTERN = list(islice(cycle(NAMES), BATCH))


def rules() -> list[StatisticRule]:
    """Return a rule for each of fifty operations, cycling through the statistics.

    All rules fire except those for ``absent``, because every operation is in use.
    """
    return [
        StatisticRule(
            name=name,
            operation=name,
            statistic=statistic,
            above=None if statistic == "absent" else 0.0,
            window=1.2,
        )
        for name, statistic in zip(NAMES, cycle(get_args(Statistic)), strict=False)
    ]


def time_of_a_span(monitor: PerformanceMonitor) -> float:
    """Return the average time of one span during a round, in nanoseconds."""
    calls = 0
    start = time.perf_counter()
    end = start + SECONDS
    while (now := time.perf_counter()) < end:
        for name in PATTERN:
            with monitor.track_operation(name):
                pass
        calls += BATCH
    return (now - start) / calls * 1e9


def ratio_of_a_run() -> tuple[float, float]:
    """Return the median time of a span without rules and with rules, in nanoseconds."""
    without, watched = PerformanceMonitor(), PerformanceMonitor()
    plain, with_rules = [], []
    time_of_a_span(without)
    for _ in range(ROUNDS):
        plain.append(time_of_a_span(without))
        watched.alerts.add_sink(lambda _: None)  # so that alerts do not go to the log
        for rule in rules():
            watched.alerts.add(rule)
        with_rules.append(time_of_a_span(watched))
        alerts = watched.alerts
        assert len(alerts.rules()) == len(NAMES)
        assert alerts.active(), "the rules were not evaluated"
        alerts.close()
    return statistics.median(plain), statistics.median(with_rules)


def main() -> None:
    """Print each run's times and ratio, and the median ratio."""
    ratios = []
    for number in range(1, RUNS + 1):
        plain, with_rules = ratio_of_a_run()
        ratios.append(with_rules / plain)
        sys.stdout.write(
            f"run {number}: {plain:.1f} ns without rules, {with_rules:.1f} ns with "
            f"{len(NAMES)}: {ratios[-1]:.3f} x\n"
        )
        sys.stdout.flush()
    sys.stdout.write(f"median of {RUNS} runs: {statistics.median(ratios):.3f} x\n")


if __name__ == "__main__":
    main()
