"""Silences: which alerts are kept from the sinks, until when."""

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

    States go on, and the history records them. An alert that still fires at the silence's end is
    announced then; that an alert resolved is announced exactly if that it fired was.

    Attributes:
        until: The end, as Unix time in seconds; a `datetime` is taken, too, in local time if it
            names no zone.
        rule: A rule's name or a pattern; all rules by default.
        operation: An operation's name or a pattern; all by default.
        labels: Patterns that labels of the rule must match, by name.
        comment: Why.

    Raises:
        RuleError: (a `ValueError`) If a field has a value it cannot have; names both.
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
            raise RuleError("until", until, "must be a date with a time, or Unix seconds")
        if not math.isfinite(seconds):
            raise RuleError("until", until, "a silence has an end")
        object.__setattr__(self, "until", float(seconds))
        check_text("rule", self.rule)
        check_text("operation", self.operation)
        object.__setattr__(self, "labels", MappingProxyType(check_labels("labels", self.labels)))
        if not isinstance(self.comment, str):
            raise RuleError("comment", self.comment, "must be a string")

    def covers(self, rule: Rule, operation: str, time: float) -> bool:
        """Whether it keeps the alert of `rule` and `operation` from the sinks at a Unix time."""
        return (
            time < self.until
            and fnmatchcase(rule.name, self.rule)
            and fnmatchcase(operation, self.operation)
            and all(
                fnmatchcase(rule.labels.get(name, ""), pattern)
                for name, pattern in self.labels.items()
            )
        )
