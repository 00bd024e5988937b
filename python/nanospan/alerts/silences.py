"""Silences, which withhold matching alerts from the sinks until a given time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING

from nanospan.alerts.fields import RuleError, check_labels, check_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan.alerts.rules import Rule

__all__ = ["Silence"]


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Withholds matching alerts from the sinks until a given time. Immutable.

    Silenced alerts still change state and appear in the history. An alert that is still firing when
    the silence ends is then sent to the sinks. The sinks are told that an alert resolved if and
    only if they were told that it was firing.

    Attributes:
        until: When the silence ends, as Unix time in seconds. A ``datetime`` is converted; one
            without a time zone is taken as local time.
        rule: A rule's name, or a pattern with ``*``, ``?`` and ``[...]``; matches every rule by
            default.
        operation: An operation's name, or a pattern; matches every operation by default.
        labels: Patterns that the values of the rule's labels must match, keyed by label name.
        comment: The reason for the silence.

    Raises:
        RuleError: (a ``ValueError``) If a field has an invalid value; the message shows the field
            and the value.
    """

    until: float
    rule: str = "*"
    operation: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    comment: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "until", _unix_time(self.until))
        check_pattern("rule", self.rule)
        check_pattern("operation", self.operation)
        object.__setattr__(self, "labels", MappingProxyType(check_labels("labels", self.labels)))
        for name, pattern in self.labels.items():
            if pattern:
                check_pattern(f"labels.{name}", pattern)
        if not isinstance(self.comment, str):
            raise RuleError(
                "comment", self.comment, f"must be a string, got {type(self.comment).__name__}"
            )

    def covers(self, rule: Rule, operation: str, time: float) -> bool:
        """Return whether this silences ``rule`` for ``operation`` at the Unix time ``time``."""
        return (
            time < self.until
            and fnmatchcase(rule.name, self.rule)
            and fnmatchcase(operation, self.operation)
            and all(
                fnmatchcase(rule.labels.get(name, ""), pattern)
                for name, pattern in self.labels.items()
            )
        )


def _unix_time(until: object) -> float:
    """Convert the end of a silence to Unix time; raise RuleError if it is invalid."""
    if isinstance(until, bool) or not isinstance(until, (int, float, datetime)):
        raise RuleError("until", until, "must be a date and time, or a Unix time in seconds")
    try:
        seconds = until.timestamp() if isinstance(until, datetime) else float(until)
    except (OverflowError, ValueError, OSError):
        # Local times near the first and last year are out of range, and so are huge integers.
        raise RuleError("until", until, "must be a time that a float can represent") from None
    if not math.isfinite(seconds):
        raise RuleError("until", until, "must be finite, because every silence must end")
    return seconds
