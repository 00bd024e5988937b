"""Alert rules: what is watched, when it is too much, and what is said then."""

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
    check_seconds,
    check_text,
)
from nanospan.alerts.templates import PLACEHOLDERS, check_template
from nanospan.regression import Baseline
from nanospan.regression.effects import MIN_EFFECT

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
    "p50", "p90", "p95", "p99", "p999", "mean", "max", "rate", "error_rate", "in_flight", "absent"
]
Direction = Literal["up", "down", "any"]

SEVERITIES: tuple[str, ...] = get_args(Severity)
STATISTICS: tuple[str, ...] = get_args(Statistic)

# A window is cut into this many slices, so that it is at most a twelfth longer than was asked for.
SLICES = 12
SHORTEST_INTERVAL = 0.1  # seconds: below this, looking costs more than what is looked at
LONGEST_INTERVAL = 15.0  # seconds: so that no rule takes longer than this to notice
LONGEST_WINDOW = 7 * 86400.0


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the kinds of rules have in common. Immutable; safe to share between threads.

    Attributes:
        name: Unique among the rules of a monitor.
        operation: The operation's name, or a pattern with ``*``, ``?`` and ``[...]`` (those of
            :mod:`fnmatch`, minding upper and lower case). Each operation is an alert of its own.
        severity: ``info``, ``warning`` or ``critical``.
        labels: Further labels of the alert. Names are those of Prometheus' labels.
        summary: The text, with ``{placeholders}``: ``rule``, ``operation``, ``severity``,
            ``statistic``, ``value``, ``limit``, ``window`` and the names of `labels`. Numbers are
            written with their units unless a format is given (``{value:.3f}``, in seconds).
        for_seconds: How long the condition holds before the alert fires.
        cooldown: How many seconds after it resolved it may fire again at the earliest.

    Raises:
        RuleError: (a `ValueError`) If a field has a value it cannot have; names both.
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
        check_text("operation", self.operation)
        check_choice("severity", self.severity, SEVERITIES)
        check_seconds("for_seconds", self.for_seconds, minimum=0)
        check_seconds("cooldown", self.cooldown, minimum=0)
        object.__setattr__(self, "labels", MappingProxyType(check_labels("labels", self.labels)))
        if not isinstance(self.summary, str):
            raise RuleError("summary", self.summary, "must be a string")
        try:
            check_template(self.summary, {*PLACEHOLDERS, *self.labels})
        except ValueError as exc:
            raise RuleError("summary", self.summary, str(exc)) from None

    @property
    def watched(self) -> str:
        """The name of what is compared: a statistic, ``regression`` or ``change``."""
        return self.statistic_name

    @property
    def limit(self) -> float | None:
        """The value beyond which the condition holds, if there is one."""
        return None

    @property
    def seconds(self) -> float | None:
        """The length of the window in seconds, if the rule has one."""
        return None

    @property
    def interval(self) -> float:
        """How often the rule wants to be looked at, in seconds."""
        raise NotImplementedError

    @property
    def default_summary(self) -> str:
        """The text of a rule without a `summary`, with placeholders."""
        raise NotImplementedError

    def matches(self, operation: str) -> bool:
        """Whether the rule watches the operation of this name."""
        return fnmatchcase(operation, self.operation)


@dataclass(frozen=True, kw_only=True)
class StatisticRule(Rule):
    """A statistic of the last `window` seconds is beyond a limit.

    ```python
    StatisticRule(name="slow stores", operation="m1_*", statistic="p95", above=0.150,
                  resolve_below=0.120, window=60, for_seconds=30)
    ```

    With fewer than `min_count` samples in the window nothing is judged: what fires goes on firing.
    With none at all it resolves; `absent` is the statistic for silence.

    Attributes:
        statistic: ``p50 p90 p95 p99 p999 mean max`` (durations in seconds of all samples, within
            0.55 %), ``rate`` (samples per second), ``error_rate`` (failed ones among those not
            cancelled, 0 to 1), ``in_flight`` (spans under way at the moment), ``absent`` (no sample
            for a whole window; takes no limit).
        above: The condition holds while the statistic is strictly over it.
        below: Or: while it is strictly under it.
        resolve_below: With `above`: what fires resolves only once the statistic is under this.
        resolve_above: With `below`: the same, once it is over this.
        window: Seconds that are looked back at, from 0.1 to a week. The window may be up to a
            twelfth longer, and is shorter until the monitor has been watched for so long.
        min_count: Samples in the window without which durations and `error_rate` are not judged.
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
                    raise RuleError(name, value, "the statistic absent takes no limit")
        elif self.above is not None and self.below is not None:
            raise RuleError("below", self.below, "a rule takes one of above and below, not both")
        elif self.above is None and self.below is None:
            raise RuleError("above", None, f"{self.statistic} needs a limit: above or below")
        self._check_hysteresis()

    def _check_limit(self, name: str, value: object) -> None:
        if value is None:
            return
        number = check_number(name, value)
        if number < 0:
            raise RuleError(name, value, "must not be negative")
        if self.statistic == "error_rate" and number > 1:
            raise RuleError(name, value, "error_rate is a share: from 0 to 1")

    def _check_hysteresis(self) -> None:
        if self.resolve_below is not None:
            if self.above is None:
                raise RuleError("resolve_below", self.resolve_below, "goes with above")
            if self.resolve_below > self.above:
                message = f"must not be over above = {self.above!r}"
                raise RuleError("resolve_below", self.resolve_below, message)
        if self.resolve_above is not None:
            if self.below is None:
                raise RuleError("resolve_above", self.resolve_above, "goes with below")
            if self.resolve_above < self.below:
                message = f"must not be under below = {self.below!r}"
                raise RuleError("resolve_above", self.resolve_above, message)

    @property
    def watched(self) -> str:
        """The statistic."""
        return self.statistic

    @property
    def limit(self) -> float | None:
        """`above` or `below`."""
        return self.below if self.above is None else self.above

    @property
    def seconds(self) -> float | None:
        """`window`."""
        return self.window

    @property
    def interval(self) -> float:
        """As often as window and `for_seconds` need it, between 0.1 and 15 seconds."""
        shortest = self.window / SLICES
        if self.for_seconds:
            shortest = min(shortest, self.for_seconds / 4)
        return min(max(shortest, SHORTEST_INTERVAL), LONGEST_INTERVAL)

    @property
    def default_summary(self) -> str:
        """What is beyond which limit."""
        if self.statistic == "absent":
            return "{operation}: nothing finished in the last {window}"
        relation = "under" if self.above is None else "over"
        if self.statistic == "in_flight":
            return "{operation}: {value} in flight, " + relation + " {limit}"
        return "{operation}: {statistic} {value} of the last {window} is " + relation + " {limit}"

    def breached_by(self, value: float) -> bool:
        """Whether a value of the statistic is beyond the limit."""
        if self.above is not None:
            return value > self.above
        return self.below is not None and value < self.below

    def cleared_by(self, value: float) -> bool:
        """Whether a value of the statistic lets a firing alert resolve."""
        if self.resolve_below is not None:
            return value < self.resolve_below
        if self.resolve_above is not None:
            return value > self.resolve_above
        return not self.breached_by(value)


@dataclass(frozen=True, kw_only=True)
class RegressionRule(Rule):
    """The operation's window of samples has regressed against a baseline.

    The condition holds while ``monitor.compare(baseline)`` gives the verdict ``regressed``, and is
    over with ``unchanged`` or ``improved``; ``insufficient`` changes nothing. The alert's value is
    the typical duration now as a multiple of the baseline's, or where the tail regressed and the
    bulk did not, that of the tail quantile that grew most.

    Attributes:
        baseline: A ``nanospan.regression.Baseline``, or the path of a saved one.
        every: Seconds between two comparisons, at least 1.
        fdr: How many of the operations found changed are not, on average, at most. Far below that
            of ``monitor.compare``, as a rule that looks over and over would else soon be wrong.
        min_effect: The relative change of the median from which it counts.
        min_count: Samples in the window without which nothing is judged: the first ones after a
            start are slow for reasons of their own.
    """

    baseline: Baseline | str | os.PathLike[str] = field(hash=False)
    every: float = 30.0
    fdr: float = 0.001
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
            raise RuleError("baseline", self.baseline, "must be a baseline or a file's path")
        if not 0 < check_number("fdr", self.fdr) < 1:
            raise RuleError("fdr", self.fdr, "must be a share: over 0 and under 1")
        if not check_number("min_effect", self.min_effect) > 0:
            raise RuleError("min_effect", self.min_effect, "must be over 0")
        check_count("min_count", self.min_count)

    @property
    def interval(self) -> float:
        """`every`, and at most 15 seconds."""
        return min(self.every, LONGEST_INTERVAL)

    @property
    def default_summary(self) -> str:
        """How the median stands to that of the baseline."""
        return "{operation}: regressed to {value} of its baseline"


@dataclass(frozen=True, kw_only=True)
class ChangeRule(Rule):
    """The operation's durations moved to another level, whatever that level is.

    An online detector (:class:`nanospan.regression.OnlineDetector`) learns the level from the first
    `warmup` samples. It is fed once a second with what is new among the last samples that the
    monitor keeps: where more than those come in a second, the latest. What it finds fires for
    `hold_seconds`, then resolves: by then the new level is the usual one.

    Attributes:
        direction: Which changes count: ``up`` (slower), ``down`` or ``any``.
        hold_seconds: How long a change is reported, at least 1 second.
        warmup: Samples from which the level is learnt, at least eight batches.
        batch: Samples that are averaged into one step.
        k: Allowance of the cumulative sum, in units of the long-run standard deviation.
        h: Its decision limit, in the same units: higher means later and surer.
    """

    direction: Direction = "up"
    hold_seconds: float = 600.0
    warmup: int = 400
    batch: int = 10
    k: float = 0.3
    h: float = 13.0

    statistic_name: ClassVar[str] = "change"

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        check_choice("direction", self.direction, get_args(Direction))
        check_seconds("hold_seconds", self.hold_seconds, minimum=1, maximum=LONGEST_WINDOW)
        for name in ("warmup", "batch"):
            check_count(name, getattr(self, name))
        if self.warmup < 8 * self.batch:
            message = f"must be at least eight batches ({8 * self.batch})"
            raise RuleError("warmup", self.warmup, message)
        for name in ("k", "h"):
            if not check_number(name, getattr(self, name)) > 0:
                raise RuleError(name, getattr(self, name), "must be over 0")

    @property
    def interval(self) -> float:
        """A second: the samples of that time are looked at one by one."""
        return 1.0

    @property
    def default_summary(self) -> str:
        """How the new level stands to the old one."""
        return "{operation}: durations moved to about {value} of their level"
