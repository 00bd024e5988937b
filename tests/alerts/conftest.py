"""A clock that tests move, and an engine that looks when they say."""

from types import SimpleNamespace

import pytest

from nanospan.alerts.engine import Clock, Engine
from nanospan.alerts.observations import MonitorObservations


class _SetClock(MonitorObservations):
    """Observations whose Unix times are off, as they are once the clock was set."""

    step = 0.0

    def snapshot(self):
        snapshot = super().snapshot()
        parts = ("ok", "error", "cancelled", "all", "in_flight")
        return SimpleNamespace(
            time=snapshot.time + self.step,
            operations={
                name: SimpleNamespace(
                    created=operation.created + self.step,
                    **{part: getattr(operation, part) for part in parts},
                )
                for name, operation in snapshot.operations.items()
            },
        )


class Looking:
    """An engine on a real monitor, with its time in the test's hands."""

    def __init__(self, monitor):
        self.now = 1000.0
        self.wall = 1_700_000_000.0
        self.told = []
        self.recorded = []
        self.monitor = monitor
        clock = Clock(lambda: self.now, lambda: self.wall)
        self._observations = _SetClock(monitor)
        self.engine = Engine(self._observations, self._publish, clock)

    def _publish(self, alert, announce):
        self.recorded.append(alert)
        if announce:
            self.told.append(alert)

    def set_clock(self, step):
        """Set the system's clock by so many seconds."""
        self._observations.step += step

    def rules(self, *rules):
        self.engine.set_rules(rules)
        self.engine.tick()

    def look(self, after=1.0, *, times=1):
        """Let time pass and look, `times` times."""
        for _ in range(times):
            self.now += after
            self.wall += after
            self.engine.tick()

    @property
    def states(self):
        return [(alert.rule, alert.operation, alert.state) for alert in self.recorded]

    @property
    def active(self):
        return {(a.rule, a.operation): a.state for a in self.engine.active()}


@pytest.fixture
def looking(monitor):
    """An engine that looks at `monitor` when the test says."""
    return Looking(monitor)
