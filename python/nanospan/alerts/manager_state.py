"""The state of a monitor's alerts, which is replaced as a whole."""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanospan.alerts.delivery import SinkWorker
from nanospan.alerts.firing import FiringAlerts
from nanospan.alerts.sinks import LogSink

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.alerts_file import AlertsFile
    from nanospan.alerts.engine import Engine
    from nanospan.alerts.rules import Rule
    from nanospan.alerts.silences import Silence
    from nanospan.alerts.sinks import Sink

__all__ = ["ManagerState"]

HISTORY = 1000
"""The number of changes of alerts' states that are kept."""


@dataclass(frozen=True, slots=True)
class ManagerState:
    """The state of a monitor's alerts. Immutable: every change replaces it.

    The attributes up to ``closed`` are what a forked child shares with its parent.
    """

    engine: Engine
    rules: Mapping[str, Rule] = field(default_factory=dict)
    silences: tuple[Silence, ...] = ()
    files: Mapping[Path, AlertsFile] = field(default_factory=dict)
    workers: tuple[SinkWorker, ...] = ()
    closed: bool = False
    default: SinkWorker = field(default_factory=lambda: SinkWorker(LogSink()))
    history: deque[Alert] = field(default_factory=lambda: deque(maxlen=HISTORY))
    firing: FiringAlerts = field(default_factory=FiringAlerts)

    @property
    def receivers(self) -> tuple[SinkWorker, ...]:
        """The workers of the sinks, or the one that logs if there are no sinks."""
        return self.workers or (self.default,)

    def check_open(self) -> None:
        """Raise RuntimeError if the alerts were closed."""
        if self.closed:
            raise RuntimeError("this Alerts object is closed; use monitor.alerts to get a new one")

    def with_sinks(self, sinks: Iterable[Sink]) -> ManagerState:
        """Return this state with further sinks, which get the firing alerts if they want them."""
        added = [
            SinkWorker(sink, current=self.firing.all() if sink.wants_current_alerts else ())
            for sink in sinks
        ]
        return dataclasses.replace(self, workers=(*self.workers, *added))

    def without_sinks(self, sinks: Iterable[Sink]) -> ManagerState:
        """Return this state without the workers of ``sinks``, which must then be ended."""
        removed = list(sinks)
        kept = tuple(worker for worker in self.workers if worker.sink not in removed)
        return dataclasses.replace(self, workers=kept)

    def after(self, alert: Alert) -> ManagerState:
        """Return this state after ``alert`` was announced to the sinks."""
        return dataclasses.replace(self, firing=self.firing.after(alert))
