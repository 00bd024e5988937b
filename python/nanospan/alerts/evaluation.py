"""What the rules find in the monitor's state."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from nanospan.alerts.changes import Changes
from nanospan.alerts.rules import ChangeRule, RegressionRule, Rule, StatisticRule
from nanospan.alerts.states import Finding
from nanospan.alerts.windows import Window, Windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nanospan.alerts.observations import Observations
    from nanospan.regression import Comparison

__all__ = ["Evaluator"]

logger = logging.getLogger("nanospan.alerts")

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}

NOTHING = Finding(breached=False, cleared=True)
UNDECIDED = Finding(breached=False, cleared=False)


class _NotTriedError(Exception):
    """The rule failed, and it is not yet time to try again."""


class Evaluator:
    """Evaluates a set of rules. Not thread-safe: it belongs to the engine's thread."""

    def __init__(self) -> None:
        self._windows = Windows()
        self._changes = Changes()
        # When to compare again, and what the last comparison found; `None` if it failed.
        self._regressions: dict[str, tuple[float, dict[str, Finding] | None]] = {}
        self._matching: dict[str, list[str]] = {}
        self._looked_through: set[str] = set()
        self._rules: tuple[Rule, ...] = ()
        self._troubles: dict[str, str] = {}

    def findings(
        self, rules: tuple[Rule, ...], observations: Observations, now: float
    ) -> Iterator[tuple[Rule, str, Finding]]:
        """Look once.

        What a rule raises is logged, once until it changes or ends; the other rules go on, and the
        rule's alerts stay as they are.

        Args:
            rules: The rules that there are.
            observations: What the rules are evaluated on.
            now: The time in seconds, on a clock that never goes back.

        Yields:
            A rule, the name of an operation, and what was found.
        """
        snapshot = observations.snapshot()
        self._windows.advance(snapshot, now)
        self._match(rules, snapshot.operations)
        for rule in rules:
            try:
                found = list(self._look(rule, observations, now))
            except _NotTriedError:
                continue
            except Exception as exc:  # noqa: BLE001 - a rule must not end the others
                self._report(rule, exc)
            else:
                if self._troubles.pop(rule.name, None):
                    logger.info("alert rule %r works again", rule.name)
                for operation, finding in found:
                    yield rule, operation, finding

    def _match(self, rules: tuple[Rule, ...], operations: Iterable[str]) -> None:
        """Find out which operations each rule watches; every name is looked at once."""
        if rules is not self._rules:
            kept = {rule.name for rule in rules if rule in self._rules}
            self._regressions = {k: v for k, v in self._regressions.items() if k in kept}
            self._changes.keep(kept)
            self._troubles = {k: v for k, v in self._troubles.items() if k in kept}
            self._rules = rules
            self._looked_through = set()
            self._matching = {rule.name: [] for rule in rules}
        for operation in operations:
            if operation not in self._looked_through:
                self._looked_through.add(operation)
                for rule in rules:
                    if rule.matches(operation):
                        self._matching[rule.name].append(operation)

    def _look(
        self, rule: Rule, observations: Observations, now: float
    ) -> Iterator[tuple[str, Finding]]:
        operations = self._matching[rule.name]
        if isinstance(rule, StatisticRule):
            # Silence is found even where there never was anything to hear.
            if rule.statistic == "absent" and not operations:
                operations = [rule.operation]
            for operation in operations:
                yield operation, _judge(rule, self._windows.last(operation, rule.window))
            if rule.statistic == "absent" and rule.operation not in operations:
                yield rule.operation, NOTHING  # the pattern itself is no longer without a match
        elif isinstance(rule, RegressionRule):
            yield from self._compare(rule, operations, observations, now).items()
        elif isinstance(rule, ChangeRule):
            for operation in operations:
                yield operation, self._changes.look(rule, operation, observations, now)
        else:
            raise TypeError(f"no rule of a known kind: {type(rule).__name__}")

    def _compare(
        self, rule: RegressionRule, operations: list[str], observations: Observations, now: float
    ) -> dict[str, Finding]:
        """The findings of the last comparison; a new one where it is time."""
        due, findings = self._regressions.get(rule.name, (now, {}))
        if now >= due:
            # Before the comparison: one that fails is not tried again at once either.
            self._regressions[rule.name] = (now + rule.every, None)
            comparisons = observations.compare(rule)
            findings = {
                operation: _weigh(rule, comparisons[operation])
                for operation in operations
                if operation in comparisons
            }
            self._regressions[rule.name] = (now + rule.every, findings)
        if findings is None:
            raise _NotTriedError
        return findings

    def _report(self, rule: Rule, exc: Exception) -> None:
        trouble = f"{type(exc).__name__}: {exc}"
        if self._troubles.get(rule.name) != trouble:
            self._troubles[rule.name] = trouble
            logger.error("alert rule %r cannot be evaluated", rule.name, exc_info=exc)


def _judge(rule: StatisticRule, window: Window) -> Finding:
    statistic = rule.statistic
    if statistic == "absent":
        if window.count:
            return NOTHING
        # Before a whole window was watched, silence shows nothing.
        return Finding(breached=True, cleared=False) if window.is_full else UNDECIDED
    value: float | None
    if statistic == "in_flight":
        value = float(window.in_flight)
    elif statistic == "rate":
        value = window.rate
    elif not window.count:
        return NOTHING
    elif window.count < rule.min_count:
        return UNDECIDED
    else:
        value = _statistic(statistic, window)
    if value is None:
        return UNDECIDED
    return Finding(rule.breached_by(value), rule.cleared_by(value), value)


def _statistic(statistic: str, window: Window) -> float | None:
    if statistic == "error_rate":
        return window.error_rate
    durations = window.durations
    if durations is None:
        return None
    if statistic == "mean":
        return durations.sum / durations.count
    return durations.quantile(_QUANTILES[statistic])


def _weigh(rule: RegressionRule, comparison: Comparison) -> Finding:
    if comparison.counts[1] < rule.min_count:
        return UNDECIDED
    verdict, ratio = comparison.verdict, comparison.shift
    if verdict == "regressed" and ratio < 1 + rule.min_effect:  # then it is the tail that did
        ratio = max((tail.change for tail in comparison.quantiles.values()), default=ratio)
    cleared = verdict in {"unchanged", "improved"}
    return Finding(verdict == "regressed", cleared, ratio if math.isfinite(ratio) else None)
