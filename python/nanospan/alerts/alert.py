"""What is told of an alert: to callers, to the history and to the sinks."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nanospan.alerts.templates import Quantity, render, unit_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan.alerts.rules import Rule
    from nanospan.alerts.states import State

__all__ = ["Alert", "describe", "instance_name"]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert of one rule and one operation, as it stood at one moment. Immutable.

    Attributes:
        rule: The rule's name.
        operation: The operation's name; the rule's pattern if that matched none (``absent``).
        state: ``pending``, ``firing`` or ``resolved``; in the history also ``inactive``, for a
            pending alert whose condition ended.
        severity: The rule's.
        statistic: What was compared: a statistic, ``regression`` or ``change``.
        value: The value found: seconds, a share, a rate, a number, or for ``regression`` and
            ``change`` a ratio. `None` if there was none.
        limit: The rule's limit, if it has one.
        window: The length of the rule's window in seconds, if it has one.
        summary: The text, as of when the condition last held.
        labels: The rule's labels.
        since: When the alert came into its state, as Unix time in seconds.
        fired_at: When it began to fire; `None` if it did not.
        silenced: Whether a silence keeps it from the sinks.
        instance: Host and process whose monitor found it, as ``host:pid``.
    """

    rule: str
    operation: str
    state: State
    severity: str
    statistic: str
    value: float | None
    limit: float | None
    window: float | None
    summary: str
    labels: Mapping[str, str] = field(hash=False)
    since: float
    fired_at: float | None
    silenced: bool
    instance: str

    def to_dict(self) -> dict[str, Any]:
        """The alert as plain values that JSON has, with ``"version": 1``."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"version": 1, **values, "labels": dict(self.labels)}


def describe(rule: Rule, operation: str, value: float | None) -> str:
    """The summary of what a rule found."""
    unit = unit_of(rule.watched)
    placeholders: dict[str, object] = {
        **rule.labels,
        "rule": rule.name,
        "operation": operation,
        "severity": rule.severity,
        "statistic": rule.watched,
        "value": None if value is None else Quantity(value, unit),
        "limit": None if rule.limit is None else Quantity(rule.limit, unit),
        "window": None if rule.seconds is None else Quantity(rule.seconds, "s"),
    }
    return render(rule.summary or rule.default_summary, placeholders)


@lru_cache(maxsize=1)
def _instance_name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"


def instance_name() -> str:
    """Name of this process among those that send to the same place: ``host:pid``."""
    return _instance_name(os.getpid())
