"""Evaluates alert rules on a monitor's data."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from nanospan.alerts.change_detectors import ChangeDetectors
from nanospan.alerts.rules import ChangeRule, RegressionRule, Rule, StatisticRule
from nanospan.alerts.states import Finding
from nanospan.alerts.windows import Window, Windows
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nanospan.alerts.observations import Observations
    from nanospan.regression import Comparison

__all__ = ["Evaluator"]

logger = logging.getLogger("nanospan.alerts")

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}

CLEARED = Finding(breached=False, cleared=True)
UNDECIDED = Finding(breached=False, cleared=False)


class _RetryLaterError(Exception):
    """The rule's last comparison failed, and the next one is not yet due."""


class Evaluator:
    """Evaluates alert rules. Not thread-safe: used only by the engine's thread."""

    def __init__(self) -> None:
        self._windows = Windows()
        self._detectors = ChangeDetectors()
        # Keyed by rule: when to compare again, and the last findings (None after a failure).
        self._regressions: dict[str, tuple[float, dict[str, Finding] | None]] = {}
        self._matching: dict[str, list[str]] = {}
        self._matched_operations: set[str] = set()
        self._rules: tuple[Rule, ...] = ()
        self._errors: dict[str, str] = {}

    def findings(
        self, rules: tuple[Rule, ...], observations: Observations, now: float
    ) -> Iterator[tuple[Rule, str, Finding]]:
        """Evaluate every rule once.

        If evaluating a rule raises an exception, the other rules are still evaluated, and the
        alerts of the failed rule keep their states. An exception that recurs at successive
        evaluations of a rule is logged only once.

        Args:
            rules: The rules to evaluate.
            observations: Provides the monitor's data.
            now: The current time in seconds, on a monotonic clock.

        Yields:
            A rule, the name of an operation, and the rule's finding for that operation.
        """
        snapshot = observations.snapshot()
        self._windows.advance(snapshot, now)
        self._match(rules, snapshot.operations)
        for rule in rules:
            try:
                found = list(self._evaluate(rule, observations, now))
            except _RetryLaterError:
                continue
            except Exception as exc:  # noqa: BLE001 - one rule must not stop the others
                self._log_error(rule, exc)
            else:
                if self._errors.pop(rule.name, None):
                    logger.info("alert rule %s works again", shown(rule.name))
                for operation, finding in found:
                    yield rule, operation, finding

    def _match(self, rules: tuple[Rule, ...], operations: Iterable[str]) -> None:
        """Update the operations that each rule watches; match each operation name only once."""
        if rules is not self._rules:
            kept = {rule.name for rule in rules if rule in self._rules}
            self._regressions = {k: v for k, v in self._regressions.items() if k in kept}
            self._detectors.retain(kept)
            self._errors = {k: v for k, v in self._errors.items() if k in kept}
            self._rules = rules
            self._matched_operations = set()
            self._matching = {rule.name: [] for rule in rules}
        for operation in operations:
            if operation not in self._matched_operations:
                self._matched_operations.add(operation)
                for rule in rules:
                    if rule.matches(operation):
                        self._matching[rule.name].append(operation)

    def _evaluate(
        self, rule: Rule, observations: Observations, now: float
    ) -> Iterator[tuple[str, Finding]]:
        operations = self._matching[rule.name]
        if isinstance(rule, StatisticRule):
            # An operation that was never recorded counts as absent.
            if rule.statistic == "absent" and not operations:
                operations = [rule.operation]
            for operation in operations:
                yield operation, _judge_statistic(rule, self._windows.last(operation, rule.window))
            if rule.statistic == "absent" and rule.operation not in operations:
                # The pattern now matches an operation, which ends any alert on the pattern itself.
                yield rule.operation, CLEARED
        elif isinstance(rule, RegressionRule):
            yield from self._compare(rule, operations, observations, now).items()
        elif isinstance(rule, ChangeRule):
            for operation in operations:
                yield operation, self._detectors.update(rule, operation, observations, now)
        else:
            raise TypeError(
                "rule must be a StatisticRule, RegressionRule or ChangeRule, "
                f"got {type(rule).__name__}"
            )

    def _compare(
        self, rule: RegressionRule, operations: list[str], observations: Observations, now: float
    ) -> dict[str, Finding]:
        """Return the findings of the rule's latest comparison, after running one if it is due."""
        due, findings = self._regressions.get(rule.name, (now, {}))
        if now >= due:
            # Set before comparing, so that a failing comparison is not retried at once.
            self._regressions[rule.name] = (now + rule.every, None)
            comparisons = observations.compare(rule)
            findings = {
                operation: _judge_comparison(rule, comparisons[operation])
                for operation in operations
                if operation in comparisons
            }
            self._regressions[rule.name] = (now + rule.every, findings)
        if findings is None:
            raise _RetryLaterError
        return findings

    def _log_error(self, rule: Rule, exc: Exception) -> None:
        error = f"{type(exc).__name__}: {exc}"
        if self._errors.get(rule.name) != error:
            self._errors[rule.name] = error
            logger.error("alert rule %s cannot be evaluated", shown(rule.name), exc_info=exc)


def _judge_statistic(rule: StatisticRule, window: Window) -> Finding:
    statistic = rule.statistic
    if statistic == "absent":
        if window.count:
            return CLEARED
        # Until a whole window has been observed, a lack of samples proves nothing.
        return Finding(breached=True, cleared=False) if window.is_full else UNDECIDED
    value: float | None
    if statistic == "in_flight":
        value = float(window.in_flight)
    elif statistic == "rate":
        value = window.rate
    elif not window.count:
        return CLEARED
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
    if statistic == "cancelled_rate":
        return window.cancelled_rate
    durations = window.durations
    if durations is None:
        return None
    if statistic == "mean":
        return durations.sum / durations.count
    return durations.quantile(_QUANTILES[statistic])


def _judge_comparison(rule: RegressionRule, comparison: Comparison) -> Finding:
    if comparison.counts[1] < rule.min_count:
        return UNDECIDED
    verdict, ratio = comparison.verdict, comparison.shift
    if verdict == "regressed" and ratio < 1 + rule.min_effect:  # only the tail regressed
        ratio = max((tail.change for tail in comparison.quantiles.values()), default=ratio)
    cleared = verdict in {"unchanged", "improved"}
    return Finding(verdict == "regressed", cleared, ratio if math.isfinite(ratio) else None)
