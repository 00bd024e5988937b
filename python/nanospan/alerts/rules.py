"""Alert rules: what to watch, when to fire, and the text of the alert."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from nanospan.alerts.fields import (
    RuleError,
    check_choice,
    check_count,
    check_labels,
    check_number,
    check_pattern,
    check_seconds,
    check_text,
)
from nanospan.alerts.templates import PLACEHOLDERS, check_template
from nanospan.regression import Baseline
from nanospan.regression.effects import (
    ALERT_FDR,
    DETECTOR_BATCH,
    DETECTOR_H,
    DETECTOR_K,
    DETECTOR_WARMUP,
    MIN_EFFECT,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SEVERITIES",
    "STATISTICS",
    "ChangeRule",
    "RegressionRule",
    "Rule",
    "Severity",
    "Statistic",
    "StatisticRule",
]

Severity = Literal["info", "warning", "critical"]
Statistic = Literal[
    "p50",
    "p90",
    "p95",
    "p99",
    "p999",
    "mean",
    "max",
    "rate",
    "error_rate",
    "cancelled_rate",
    "in_flight",
    "absent",
]
Direction = Literal["up", "down", "any"]

SHARES = frozenset({"error_rate", "cancelled_rate"})
"""The statistics that are shares, from 0 to 1."""

SEVERITIES: tuple[str, ...] = get_args(Severity)
STATISTICS: tuple[str, ...] = get_args(Statistic)

SLICES = 12
"""The number of slices that make up a window.

A window may be up to one slice (a twelfth) longer than requested.
"""

SHORTEST_INTERVAL = 0.1
"""The shortest time between evaluations, in seconds.

``benches/alerts.py`` measures what evaluating this frequently costs.
"""

LONGEST_INTERVAL = 15.0
"""The longest time between evaluations, in seconds, which bounds the delay of every rule."""

LONGEST_WINDOW = 7 * 86400.0
"""The longest window that a rule may have, in seconds."""

MIN_BATCHES = 8
"""The minimum number of batches in the warm-up of an ``OnlineDetector``."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The base class of all alert rules. Immutable; safe to share between threads.

    Attributes:
        name: The rule's name, unique within a monitor.
        operation: The operation's name, or a pattern with ``*``, ``?`` and ``[...]`` as in
            :mod:`fnmatch`, case-sensitive. Each matching operation has its own alert.
        severity: ``info``, ``warning`` or ``critical``.
        labels: Additional labels for the alert. Label names must be valid in Prometheus.
        summary: The alert text, with ``{placeholders}``: ``rule``, ``operation``, ``severity``,
            ``statistic``, ``value``, ``limit``, ``window`` and the names of ``labels``. Numbers are
            shown with their units. A placeholder with a format, such as ``{value:.3f}``, shows the
            plain number (durations in seconds).
        for_seconds: How long the condition must hold before the alert fires, in seconds.
        cooldown: Minimum time between resolving and firing again, in seconds.

    Raises:
        RuleError: If a field has an invalid value. This is a ``ValueError``, whose message shows
            the field and the value.
    """

    name: str
    operation: str
    severity: Severity = "warning"
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    summary: str = ""
    for_seconds: float = 0.0
    cooldown: float = 0.0

    statistic_name: ClassVar[str]

    def __post_init__(self) -> None:
        check_text("name", self.name)
        check_pattern("operation", self.operation)
        check_choice("severity", self.severity, SEVERITIES)
        check_seconds("for_seconds", self.for_seconds, minimum=0)
        check_seconds("cooldown", self.cooldown, minimum=0)
        object.__setattr__(self, "labels", MappingProxyType(check_labels("labels", self.labels)))
        if not isinstance(self.summary, str):
            raise RuleError("summary", self.summary, "must be a string, the text of the alert")
        try:
            check_template(self.summary, {*PLACEHOLDERS, *self.labels})
        except ValueError as exc:
            raise RuleError("summary", self.summary, str(exc)) from None

    @property
    def watched(self) -> str:
        """The subject of the rule: the name of a statistic, ``regression`` or ``change``."""
        return self.statistic_name

    @property
    def limit(self) -> float | None:
        """The limit that the watched value is compared with; None if the rule has no limit."""
        return None

    @property
    def window_seconds(self) -> float | None:
        """The length of the rule's window in seconds; None if the rule has no window."""
        return None

    @property
    def interval(self) -> float:
        """The longest time that the rule allows between evaluations, in seconds."""
        raise NotImplementedError

    @property
    def default_summary(self) -> str:
        """The template for the alert text if ``summary`` is empty."""
        raise NotImplementedError

    def matches(self, operation: str) -> bool:
        """Return whether the rule watches the operation with this name."""
        return fnmatchcase(operation, self.operation)


@dataclass(frozen=True, kw_only=True)
class StatisticRule(Rule):
    """Fires while a statistic over the last ``window`` seconds is above or below a limit.

    ```python
    StatisticRule(name="slow stores", operation="m1_*", statistic="p95", above=0.150,
                  resolve_below=0.120, window=60, for_seconds=30)
    ```

    Rules for durations or shares are not evaluated while the window holds fewer than
    ``min_count`` samples, so a firing alert continues to fire. If the window holds no samples at
    all, the alert resolves; use ``absent`` to detect a lack of samples.

    Attributes:
        statistic: ``p50``, ``p90``, ``p95``, ``p99``, ``p999``, ``mean`` or ``max`` (of all
            samples' durations, in seconds, accurate to 0.55 %), ``rate`` (samples per second),
            ``error_rate`` (the share of failures among samples that were not cancelled, 0 to 1),
            ``cancelled_rate`` (the share of cancelled ones among all samples, 0 to 1),
            ``in_flight`` (currently open spans) or ``absent`` (no sample for a whole window; takes
            no limit).
        above: The condition holds while the statistic is strictly above this limit.
        below: The condition holds while the statistic is strictly below this limit. Set either
            ``above`` or ``below``, not both; for ``absent``, set neither.
        resolve_below: Can only be set together with ``above``. A firing alert then resolves only
            once the statistic is below this value.
        resolve_above: Can only be set together with ``below``. A firing alert then resolves only
            once the statistic is above this value.
        window: The length of the window in seconds, from 0.1 to a week. The actual window may be up
            to a twelfth longer, and is shorter until the rule has been running for a full window.
        min_count: Rules for durations or shares are evaluated only while the window holds at least
            this many samples.
    """

    statistic: Statistic
    above: float | None = None
    below: float | None = None
    resolve_below: float | None = None
    resolve_above: float | None = None
    window: float = 60.0
    min_count: int = 1

    statistic_name: ClassVar[str] = "statistic"

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        check_choice("statistic", self.statistic, STATISTICS)
        check_seconds("window", self.window, minimum=SHORTEST_INTERVAL, maximum=LONGEST_WINDOW)
        check_count("min_count", self.min_count)
        for name in ("above", "below", "resolve_below", "resolve_above"):
            self._check_limit(name, getattr(self, name))
        if self.statistic == "absent":
            for name in ("above", "below", "resolve_below", "resolve_above"):
                if (value := getattr(self, name)) is not None:
                    raise RuleError(
                        name, value, "must not be set; the statistic 'absent' takes no limit"
                    )
        elif self.above is not None and self.below is not None:
            raise RuleError("below", self.below, "set either above or below, not both")
        elif self.above is None and self.below is None:
            raise RuleError("above", None, f"{self.statistic} needs a limit; set above or below")
        self._check_hysteresis()

    def _check_limit(self, name: str, value: object) -> None:
        if value is None:
            return
        number = check_number(name, value)
        if number < 0:
            raise RuleError(name, value, "must not be negative")
        if self.statistic in SHARES and number > 1:
            raise RuleError(name, value, f"must be at most 1, because {self.statistic} is a share")

    def _check_hysteresis(self) -> None:
        if self.resolve_below is not None:
            if self.above is None:
                raise RuleError("resolve_below", self.resolve_below, "requires above to be set")
            if self.resolve_below > self.above:
                message = f"must not be greater than the value of above ({self.above!r})"
                raise RuleError("resolve_below", self.resolve_below, message)
        if self.resolve_above is not None:
            if self.below is None:
                raise RuleError("resolve_above", self.resolve_above, "requires below to be set")
            if self.resolve_above < self.below:
                message = f"must not be less than the value of below ({self.below!r})"
                raise RuleError("resolve_above", self.resolve_above, message)

    @property
    def watched(self) -> str:
        """The name of the watched statistic."""
        return self.statistic

    @property
    def limit(self) -> float | None:
        """The value of ``above`` or ``below``, whichever is set."""
        return self.below if self.above is None else self.above

    @property
    def window_seconds(self) -> float | None:
        """The length of the window, in seconds."""
        return self.window

    @property
    def interval(self) -> float:
        """The longest time that the rule allows between evaluations, in seconds.

        This is a twelfth of ``window`` or a quarter of ``for_seconds``, whichever is shorter, but
        at least 0.1 and at most 15 seconds.
        """
        shortest = self.window / SLICES
        if self.for_seconds:
            shortest = min(shortest, self.for_seconds / 4)
        return min(max(shortest, SHORTEST_INTERVAL), LONGEST_INTERVAL)

    @property
    def default_summary(self) -> str:
        """A template that shows the statistic, its value and the limit."""
        if self.statistic == "absent":
            return "{operation}: nothing finished in the last {window}"
        relation = "under" if self.above is None else "over"
        if self.statistic == "in_flight":
            return "{operation}: {value} in flight, " + relation + " {limit}"
        return "{operation}: {statistic} {value} of the last {window} is " + relation + " {limit}"

    def breached_by(self, value: float) -> bool:
        """Return whether the condition holds if the statistic has this value."""
        if self.above is not None:
            return value > self.above
        return self.below is not None and value < self.below

    def cleared_by(self, value: float) -> bool:
        """Return whether a firing alert resolves if the statistic has this value."""
        if self.resolve_below is not None:
            return value < self.resolve_below
        if self.resolve_above is not None:
            return value > self.resolve_above
        return not self.breached_by(value)


@dataclass(frozen=True, kw_only=True)
class RegressionRule(Rule):
    """Fires while an operation's current window of samples shows a regression from a baseline.

    The condition holds while ``monitor.compare(baseline)`` returns the verdict ``regressed``. A
    firing alert resolves at the verdict ``unchanged`` or ``improved``, but not at ``insufficient``.
    The alert's value is the current typical duration divided by the baseline's. If only the tail
    regressed, the value is the same ratio for the tail quantile that grew most.

    Attributes:
        baseline: A ``nanospan.regression.Baseline``, or the path of a file that contains one.
        every: Time between comparisons, in seconds; at least 1.
        fdr: The false discovery rate: the expected share of false positives among the reported
            operations, between 0 and 1. The default is far below that of ``monitor.compare``,
            because a rule compares repeatedly and would otherwise soon raise a false alarm.
        min_effect: The smallest change to report in the median, as a share of the median.
        min_count: Minimum number of samples in the window for a verdict. It should exceed the
            number of samples that are slow after a start, while caches are cold and connections are
            being opened.
    """

    baseline: Baseline | str | os.PathLike[str] = field(hash=False)
    every: float = 30.0
    fdr: float = ALERT_FDR
    min_effect: float = MIN_EFFECT
    min_count: int = 100

    statistic_name: ClassVar[str] = "regression"

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        check_seconds("every", self.every, minimum=1, maximum=LONGEST_WINDOW)
        is_path = isinstance(self.baseline, os.PathLike) or (
            isinstance(self.baseline, str) and self.baseline != ""
        )
        if not is_path and not isinstance(self.baseline, Baseline):
            raise RuleError(
                "baseline", self.baseline, "must be a Baseline or the path of a baseline file"
            )
        if not 0 < check_number("fdr", self.fdr) < 1:
            raise RuleError("fdr", self.fdr, "must be greater than 0 and less than 1")
        if not check_number("min_effect", self.min_effect) > 0:
            raise RuleError("min_effect", self.min_effect, "must be greater than 0")
        check_count("min_count", self.min_count)

    @property
    def interval(self) -> float:
        """The longest time between evaluations, in seconds: ``every``, but at most 15 seconds."""
        return min(self.every, LONGEST_INTERVAL)

    @property
    def default_summary(self) -> str:
        """A template that shows the current duration as a multiple of the baseline's."""
        return "{operation}: regressed to {value} its baseline"


@dataclass(frozen=True, kw_only=True)
class ChangeRule(Rule):
    """Fires when an operation's durations shift to a different level.

    An online detector (:class:`nanospan.regression.OnlineDetector`) learns the level from the first
    ``warmup`` samples. Once a second, it is fed the new samples in the monitor's window; if more
    arrive in a second than the window holds, only the latest are used. The alert for a change fires
    for ``hold_seconds`` and then resolves, because by then the new level counts as normal.

    Attributes:
        direction: Which changes to report: ``up`` (slower), ``down`` (faster) or ``any``.
        hold_seconds: How long the alert for a change fires, in seconds; at least 1.
        warmup: The number of samples to learn the level from; at least ``8 * batch``.
        batch: The number of samples that the detector averages into each value that it judges.
        k: The largest deviation from the level that never raises an alarm, however long it lasts.
            The unit is the long-run standard deviation of a batch's average. The tolerance is ``k``
            plus the standard error of the level.
        h: The accumulated deviation beyond the tolerance that raises an alarm, in the same unit. A
            higher value means later alarms, but fewer false ones.
    """

    direction: Direction = "up"
    hold_seconds: float = 600.0
    warmup: int = DETECTOR_WARMUP
    batch: int = DETECTOR_BATCH
    k: float = DETECTOR_K
    h: float = DETECTOR_H

    statistic_name: ClassVar[str] = "change"

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        check_choice("direction", self.direction, get_args(Direction))
        check_seconds("hold_seconds", self.hold_seconds, minimum=1, maximum=LONGEST_WINDOW)
        for name in ("warmup", "batch"):
            check_count(name, getattr(self, name))
        if self.warmup < MIN_BATCHES * self.batch:
            message = f"must be at least {MIN_BATCHES} * batch ({MIN_BATCHES * self.batch} samples)"
            raise RuleError("warmup", self.warmup, message)
        for name in ("k", "h"):
            if not check_number(name, getattr(self, name)) > 0:
                raise RuleError(name, getattr(self, name), "must be greater than 0")

    @property
    def interval(self) -> float:
        """The longest time that the rule allows between evaluations, in seconds: always 1.

        Each evaluation feeds the new samples to the detector.
        """
        return 1.0

    @property
    def default_summary(self) -> str:
        """A template that shows the new level as a multiple of the old one."""
        return "{operation}: durations shifted to about {value} their previous level"
