"""The ``Alert`` class: an alert as seen by callers, the history and the sinks."""

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
    """The state of one rule's alert for one operation at one moment. Immutable.

    Attributes:
        rule: The rule's name.
        operation: The operation's name, or the rule's pattern if it matches no operation
            (``absent`` only).
        state: ``pending``, ``firing`` or ``resolved``; in the history also ``inactive``, for a
            pending alert whose condition ended.
        severity: The rule's severity.
        statistic: The name of the compared statistic, or ``regression`` or ``change``.
        value: The measured value: seconds, a share, a rate, a count, or a ratio (``regression`` and
            ``change``). None if nothing was measured.
        limit: The rule's limit, if it has one.
        window: The length of the rule's window in seconds, if it has one.
        summary: The alert text, rendered when the condition last held.
        labels: The rule's labels.
        since: When the alert entered its state, as Unix time in seconds.
        fired_at: When the alert began to fire, as Unix time in seconds; None if it never did.
        silenced: Whether a silence keeps the alert from the sinks.
        instance: The host and process that the monitor runs in, as ``host:pid``.
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
        """Return the alert as a JSON-serialisable dict, including ``"version": 1``."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"version": 1, **values, "labels": dict(self.labels)}


def describe(rule: Rule, operation: str, value: float | None) -> str:
    """Render the rule's summary text for a measured value."""
    unit = unit_of(rule.watched)
    placeholders: dict[str, object] = {
        **rule.labels,
        "rule": rule.name,
        "operation": operation,
        "severity": rule.severity,
        "statistic": rule.watched,
        "value": None if value is None else Quantity(value, unit),
        "limit": None if rule.limit is None else Quantity(rule.limit, unit),
        "window": None if rule.window_seconds is None else Quantity(rule.window_seconds, "s"),
    }
    return render(rule.summary or rule.default_summary, placeholders)


@lru_cache(maxsize=1)
def _instance_name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"


def instance_name() -> str:
    """Return ``host:pid``, which identifies this process to the receivers of its alerts."""
    return _instance_name(os.getpid())
