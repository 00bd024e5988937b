"""Measure what fifty alert rules cost the code they watch: ``python benches/alerts.py``.

Time ``with monitor.track_operation(name)`` without rules and with fifty, which are evaluated ten
times a second on fifty operations that are all in use. A run takes rounds of both in turn and
compares their medians; the last line is the median of the runs.
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
SECONDS = 0.6  # the length of a round: time for six evaluations
BATCH = 1000
NAMES = [f"operation_{number}" for number in range(50)]
PATTERN = list(islice(cycle(NAMES), BATCH))


def rules() -> list[StatisticRule]:
    """Return fifty rules on fifty operations: every statistic in turn, firing where possible."""
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
    """Return the nanoseconds that one span takes, averaged over a round."""
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
    """Return the medians over the rounds without rules and with them, in nanoseconds."""
    without, watched = PerformanceMonitor(), PerformanceMonitor()
    plain, with_rules = [], []
    time_of_a_span(without)
    for _ in range(ROUNDS):
        plain.append(time_of_a_span(without))
        watched.alerts.add_sink(lambda _: None)  # instead of the log
        for rule in rules():
            watched.alerts.add(rule)
        with_rules.append(time_of_a_span(watched))
        alerts = watched.alerts
        assert len(alerts.rules()) == len(NAMES)
        assert alerts.active(), "the rules were not evaluated"
        alerts.close()
    return statistics.median(plain), statistics.median(with_rules)


def main() -> None:
    """Print a line for each run, and their median."""
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
