"""Measure how often verdicts of nanospan.regression are right, compared with a common rule.

python benches/regression.py [--seeds 101 102 103] [--scale 1.0] [--only NAME]

For each seed, print the share of right and wrong verdicts on latencies with and without an injected
change. For comparison, print the same shares for the common rule, "the mean is over 1.2 times the
baseline's", on the same values.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latencies import RECORDED, models, recorded
from nanospan.regression import OnlineDetector, change_points, compare, compare_many

if TYPE_CHECKING:
    from collections.abc import Iterator

    from latencies import Array, Random, Source

KINDS = {
    "independent": ("independent",),
    "correlated": ("correlated", "bursty"),
    "recorded": ("recorded",),
}
GROUPS = {
    "models": ("independent", "correlated"),
    "with bursts": ("bursty",),
    "recorded": ("recorded",),
}
"""Groups of sources into which changes are injected. Only the models have a limit for detection:
in the other sources, bursts of noise hide some changes and imitate others."""
TOLERANCE = 10
"""Maximum distance, in values, between an injected step and a change point that matches it."""


@dataclass(frozen=True)
class Row:
    """A row of the table: a measured share or rate.

    Attributes:
        name: The name of the figure.
        value: A share from 0 to 1, or the rate that the name describes.
        limit: The limit for the value; None if the value is only shown.
        at_least: Whether the limit is a lower limit.
        usual: The value for the rule "mean over 1.2 times the baseline"; None if that rule does not
            apply.
        detail: A note to print, such as the worst source and its value.
    """

    name: str
    value: float
    limit: float | None
    at_least: bool = False
    usual: float | None = None
    detail: str = ""

    @property
    def bound(self) -> str:
        """The comparison sign to print before the limit."""
        if self.limit is None:
            return ""
        return ">= " if self.at_least else "<= "

    @property
    def holds(self) -> bool:
        """Whether the value is within its limit; True if there is no limit."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def slower_by_the_mean(before: Array, after: Array) -> bool:
    """Return True if the mean is over 1.2 times the baseline's, as the common rule asks."""
    return bool(after.mean() > 1.2 * before.mean())


def grouped(
    sources: list[Source], limit: float
) -> Iterator[tuple[str, list[Source], float | None]]:
    """Yield the name of each group of sources, its sources and its limit."""
    for group, kinds in GROUPS.items():
        members = [source for source in sources if source.kind in kinds]
        yield group, members, limit if group == "models" else None


def summary(
    name: str,
    rates: dict[str, float],
    limit: float | None,
    *,
    at_least: bool = False,
    usual: list[bool] | None = None,
) -> Row:
    """Return a row with the mean of the sources' rates, and with the worst rate as the detail."""
    form = ".2f" if " per " in name else ".1%"
    worst = (min if at_least else max)(rates, key=rates.__getitem__)
    return Row(
        name,
        statistics.mean(rates.values()),
        limit,
        at_least=at_least,
        usual=statistics.mean(usual) if usual else None,
        detail=f"worst {worst}: {rates[worst]:{form}}",
    )


def false_positives(random: Random, sources: list[Source], scale: float) -> Iterator[Row]:
    """Yield the share of unchanged pairs of samples that are flagged, for each kind of source."""
    for (kind, kinds), limit in zip(KINDS.items(), (0.015, 0.03, 0.025), strict=True):
        rates, usual = {}, []
        for source in (s for s in sources if s.kind in kinds):
            pairs = max(1, int(300 * scale))
            flagged = 0
            for turn in range(pairs):
                before, after = source.pair(random, (50, 200, 500, 2_000)[turn % 4])
                flagged += compare(before, after).verdict in ("regressed", "improved")
                usual.append(slower_by_the_mean(before, after))
            rates[source.name] = flagged / pairs
        yield summary(f"false positives, {kind}", rates, limit, usual=usual)


def found(random: Random, sources: list[Source], scale: float) -> Iterator[Row]:
    """Yield the share of slowdowns found in samples of 200 values, per size and group."""
    pairs = max(1, int(100 * scale))
    for change, least in ((1.1, 0.5), (1.2, 0.7), (1.5, 0.87)):
        for group, members, limit in grouped(sources, least):
            rates, usual = {}, []
            for source in members:
                hits = 0
                for _ in range(pairs):
                    before, after = source.pair(random, 200)
                    hits += compare(before, after * change).verdict == "regressed"
                    usual.append(slower_by_the_mean(before, after * change))
                rates[source.name] = hits / pairs
            name = f"found, median +{change - 1:.0%}, {group}"
            yield summary(name, rates, limit, at_least=True, usual=usual)


def found_tails(random: Random, sources: list[Source], scale: float) -> Iterator[Row]:
    """Yield the share of slower tails that are found, for each group of sources.

    The slowest 2 % of 1,000 values are doubled, which doubles p99 but not the median.
    """
    pairs = max(1, int(60 * scale))
    for group, members, limit in grouped(sources, 0.85):
        rates, usual = {}, []
        for source in members:
            hits = 0
            for _ in range(pairs):
                before, after = source.pair(random, 1_000)
                late = np.where(after > np.quantile(after, 0.98), 2 * after, after)
                hits += compare(before, late).verdict == "regressed"
                usual.append(slower_by_the_mean(before, late))
            rates[source.name] = hits / pairs
        name = f"found, p99 doubled, {group}"
        yield summary(name, rates, limit, at_least=True, usual=usual)


def many_operations(random: Random, sources: list[Source], scale: float) -> Iterator[Row]:
    """Yield the results of comparing 200 operations, 20 of which become slower by 40 %."""
    for group, members, most in grouped(sources, 0.05):
        false, hits, usual_false, usual_hits = [], [], [], []
        for _ in range(max(1, int(15 * scale))):
            pairs = {}
            for name in range(200):
                before, after = members[name % len(members)].pair(random, 300)
                pairs[name] = (before, after * (1.4 if name % 10 == 0 else 1.0))
            verdicts = compare_many(pairs)
            flagged = {n for n, c in verdicts.items() if c.verdict in ("regressed", "improved")}
            usual = {n for n, pair in pairs.items() if slower_by_the_mean(*pair)}
            for answer, shares, right in (
                (flagged, false, hits),
                (usual, usual_false, usual_hits),
            ):
                shares.append(sum(n % 10 != 0 for n in answer) / max(len(answer), 1))
                right.append(sum(n % 10 == 0 for n in answer) / 20)
        yield Row(
            f"200 operations, false discoveries, {group}",
            statistics.mean(false),
            most,
            usual=statistics.mean(usual_false),
        )
        yield Row(
            f"200 operations, found, {group}",
            statistics.mean(hits),
            None if most is None else 0.90,
            at_least=True,
            usual=statistics.mean(usual_hits),
        )


def stepped(random: Random, noise: Array) -> tuple[Array, list[int]]:
    """Add steps of 0.7 to 6 standard deviations, 30 to 150 values apart, on a log scale.

    Returns:
        The values with the steps, and the index of each step.
    """
    logs = np.log(noise)
    sigma = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    places, at = [], int(random.integers(30, 150))
    while at < len(logs) - 30:
        logs[at:] += sigma * random.uniform(0.7, 6) * random.choice((-1, 1))
        places.append(at)
        at += int(random.integers(30, 150))
    return np.exp(logs), places


def matched(found: list[int], places: list[int]) -> int:
    """Count the places that have a found point nearby; each point is matched at most once."""
    left, count = list(found), 0
    for place in places:
        near = min(left, key=lambda point: abs(point - place), default=None)
        if near is not None and abs(near - place) <= TOLERANCE:
            left.remove(near)
            count += 1
    return count


def history(random: Random, sources: list[Source], scale: float) -> Iterator[Row]:
    """Yield how well steps are found in histories, and how often points are found without steps."""
    for group, kinds in GROUPS.items():
        right = points = steps = 0
        for source in (s for s in sources if s.kind in kinds):
            for _ in range(max(1, int(60 * scale))):
                values, places = stepped(random, source.values(random, 500))
                marked = [point.index for point in change_points(values)]
                right += matched(marked, places)
                points += len(marked)
                steps += len(places)
        recall, precision = right / steps, right / max(points, 1)
        yield Row(
            f"history, F1 of steps, {group}",
            2 * right / (points + steps),
            0.80,
            at_least=True,
            detail=f"precision {precision:.2f}, recall {recall:.2f}",
        )
    for kind, kinds in KINDS.items():
        rates = {}
        for source in (s for s in sources if s.kind in kinds):
            runs = max(1, int(30 * scale))
            false = sum(len(change_points(source.values(random, 1_000))) for _ in range(runs))
            rates[source.name] = false / runs
        limit = None if kind == "recorded" else 0.10
        yield summary(f"history, false points per 1,000, {kind}", rates, limit)


def alarms(values: Array) -> list[int]:
    """Return the indexes at which a detector with default settings raises alarms."""
    detector = OnlineDetector()
    raised = (detector.update(value) for value in values.tolist())
    return [alarm.index for alarm in raised if alarm is not None]


def online(random: Random, sources: list[Source], scale: float) -> Iterator[Row]:
    """Yield the rates of false alarms in unchanged streams, and of detections in slower ones."""
    for kind, kinds in KINDS.items():
        rates = {}
        for source in (s for s in sources if s.kind in kinds):
            runs, length = max(1, int(25 * scale)), 7_500 if kind == "recorded" else 10_000
            count = sum(len(alarms(source.values(random, length))) for _ in range(runs))
            rates[source.name] = count / runs / length * 10_000
        yield summary(f"online, false alarms per 10,000, {kind}", rates, 0.3)
    for change, least in ((1.5, 0.98), (1.2, 0.80)):
        for group, members, limit in grouped(sources, least):
            rates = {}
            for source in members:
                runs = max(1, int(100 * scale))
                hits = 0
                for _ in range(runs):
                    values = source.values(random, 1_500).copy()
                    values[1_000:] *= change
                    hits += any(index >= 1_000 for index in alarms(values))
                rates[source.name] = hits / runs
            yield summary(
                f"online, x{change} found within 500, {group}", rates, limit, at_least=True
            )


def say(*parts: str) -> None:
    """Write a line and flush it."""
    sys.stdout.write(" ".join(parts) + "\n")
    sys.stdout.flush()


def accuracy(seeds: list[int], scale: float, recording: Path, only: str) -> bool:
    """Measure and print all rows; return True if every row is within its limit."""
    sources = models() + recorded(recording)
    parts = (false_positives, found, found_tails, many_operations, history, online)
    say("| | limit |", " | ".join(f"seed {s}" for s in seeds), "| mean > 1.2 x | |")
    say("| --- | --- |", " | ".join("---" for _ in seeds), "| --- | --- |")
    holds = True
    for part in parts:
        if only not in part.__name__:
            continue
        runs = [list(part(np.random.default_rng(seed), sources, scale)) for seed in seeds]
        for rows in zip(*runs, strict=True):
            first = rows[0]
            rate = "per" in first.name or "F1" in first.name

            def shown(value: float | None, rate: bool = rate) -> str:
                if value is None:
                    return ""
                return f"{value:.2f}" if rate else f"{value:.1%}"

            missed = sum(not row.holds for row in rows)
            holds &= not missed
            usual = [row.usual for row in rows if row.usual is not None]
            say(
                f"| {first.name} | {first.bound}{shown(first.limit)} |",
                " | ".join(shown(row.value) for row in rows),
                f"| {shown(statistics.mean(usual) if usual else None)}",
                f"| {'MISSED ' if missed else ''}{first.detail} |",
            )
    return holds


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the number of draws")
    parser.add_argument("--recording", type=Path, default=RECORDED)
    parser.add_argument(
        "--only", default="", help="run only the parts whose function name contains this text"
    )
    given = parser.parse_args()
    sys.exit(0 if accuracy(given.seeds, given.scale, given.recording, given.only) else 1)


if __name__ == "__main__":
    main()
