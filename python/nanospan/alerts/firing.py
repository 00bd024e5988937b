"""The firing alerts of a monitor, as last announced to the sinks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan.alerts.alert import Alert

__all__ = ["FiringAlerts"]

_Log: TypeAlias = "tuple[Alert, _Log] | None"

FEW = 64
"""The least number of changes after which the log is merged into the mapping."""


@dataclass(frozen=True, slots=True)
class FiringAlerts:
    """The alerts that are firing. Immutable.

    The latest changes are kept as a linked list. Copying the mapping at every change would take
    quadratic time when many alerts fire.
    """

    _merged: Mapping[tuple[str, str], Alert] = field(default_factory=dict)
    _latest: _Log = None
    _changes: int = 0

    def after(self, alert: Alert) -> FiringAlerts:
        """Return the firing alerts after ``alert`` was announced."""
        changed = FiringAlerts(self._merged, (alert, self._latest), self._changes + 1)
        if changed._changes > len(self._merged) + FEW:
            return FiringAlerts(changed._all())
        return changed

    def all(self) -> list[Alert]:
        """Return the firing alerts."""
        return list(self._all().values())

    def _all(self) -> Mapping[tuple[str, str], Alert]:
        changes = []
        latest = self._latest
        while latest is not None:
            alert, latest = latest
            changes.append(alert)
        firing = dict(self._merged)
        for alert in reversed(changes):
            if alert.state == "firing":
                firing[alert.rule, alert.operation] = alert
            else:
                firing.pop((alert.rule, alert.operation), None)
        return firing
