"""The ``Alert`` class, which is returned to callers, kept in the history and sent to sinks."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nanospan._core import escape_name
from nanospan.alerts.templates import Quantity, render, unit_of
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan.alerts.rules import Rule
    from nanospan.alerts.states import State

__all__ = ["Alert", "describe", "instance_name"]


@dataclass(frozen=True, slots=True)
class Alert:
    """An immutable snapshot of the alert that one rule raises for one operation.

    Attributes:
        rule: The rule's name.
        operation: The operation's name. If the rule's statistic is ``absent`` and no operation
            matches the rule, this is the rule's pattern.
        state: ``pending``, ``firing`` or ``resolved``. In the history, ``inactive`` means that the
            condition of a pending alert ended before the alert fired.
        severity: The rule's severity.
        statistic: The name of the statistic that the rule watches, or ``regression`` or ``change``.
        value: The measured value: a duration in seconds, a share (0 to 1), a rate per second, a
            count, or a ratio (for ``regression`` and ``change``). None if nothing was measured.
        limit: The rule's limit; None if the rule has no limit.
        window: The length of the rule's window in seconds; None if the rule has no window.
        summary: The alert text, as rendered the last time the condition held.
        labels: The rule's labels.
        since: When the alert entered its current state, as Unix time in seconds.
        fired_at: When the alert started firing, as Unix time in seconds; None if it has not fired.
        silenced: Whether a silence prevents the alert from being sent to the sinks.
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
        """Return the alert as a JSON-serialisable dict, including ``"version": 1``.

        Lone surrogates in texts are escaped, because JSON in UTF-8 cannot contain them; different
        operations remain different.
        """
        values = {item.name: _encodable(getattr(self, item.name)) for item in fields(self)}
        labels = {name: _encodable(value) for name, value in self.labels.items()}
        return {"version": 1, **values, "labels": labels}


def _encodable(value: object) -> object:
    return escape_name(value) if isinstance(value, str) else value


def describe(rule: Rule, operation: str, value: float | None) -> str:
    """Render the rule's summary text for a measured value."""
    unit = unit_of(rule.watched)
    placeholders: dict[str, object] = {
        **rule.labels,
        "rule": shorten(rule.name),
        "operation": shorten(operation),
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
