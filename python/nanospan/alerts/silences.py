"""Silences, which keep alerts from the sinks for a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING

from nanospan.alerts.fields import RuleError, check_labels, check_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan.alerts.rules import Rule

__all__ = ["Silence"]


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Keeps the alerts that it matches from the sinks. Immutable.

    Alerts still change state and are recorded in the history. An alert that is firing when the
    silence ends is announced then. A resolved alert is announced if and only if its firing was.

    Attributes:
        until: The end, as Unix time in seconds. A ``datetime`` is converted; one without a time
            zone is taken as local time.
        rule: A rule's name or a pattern; all rules by default.
        operation: An operation's name or a pattern; all operations by default.
        labels: Patterns that the rule's labels must match, by label name.
        comment: The reason for the silence.

    Raises:
        RuleError: (a ``ValueError``) If a field has an invalid value; names the field and value.
    """

    until: float
    rule: str = "*"
    operation: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    comment: str = ""

    def __post_init__(self) -> None:
        until: object = self.until
        seconds = until.timestamp() if isinstance(until, datetime) else until
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise RuleError("until", until, "must be a date with a time, or a Unix time")
        if not math.isfinite(seconds):
            raise RuleError("until", until, "must be finite: a silence must end")
        object.__setattr__(self, "until", float(seconds))
        check_text("rule", self.rule)
        check_text("operation", self.operation)
        object.__setattr__(self, "labels", MappingProxyType(check_labels("labels", self.labels)))
        if not isinstance(self.comment, str):
            raise RuleError("comment", self.comment, "must be a string")

    def covers(self, rule: Rule, operation: str, time: float) -> bool:
        """Return whether the silence covers an alert at ``time``, a Unix time in seconds."""
        return (
            time < self.until
            and fnmatchcase(rule.name, self.rule)
            and fnmatchcase(operation, self.operation)
            and all(
                fnmatchcase(rule.labels.get(name, ""), pattern)
                for name, pattern in self.labels.items()
            )
        )
