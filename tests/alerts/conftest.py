"""Fixtures for the alert tests: an engine whose clock and evaluations the test controls."""

from types import SimpleNamespace

import pytest

from nanospan.alerts.engine import Clock, Engine
from nanospan.alerts.observations import MonitorObservations


class _ShiftedClock(MonitorObservations):
    """Observations with shifted Unix times, as after a change of the system clock."""

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


class EngineHarness:
    """An engine on a real monitor, with a fake clock and without a thread."""

    def __init__(self, monitor):
        self.now = 1000.0
        self.wall = 1_700_000_000.0
        self.announced = []
        self.published = []
        self.monitor = monitor
        clock = Clock(lambda: self.now, lambda: self.wall)
        self._observations = _ShiftedClock(monitor)
        self.rules, self.silences = (), ()
        self.engine = Engine(
            self._observations, lambda: (self.rules, self.silences), self._publish, clock
        )

    def _publish(self, alert, announce):
        self.published.append(alert)
        if announce:
            self.announced.append(alert)

    def shift_clock(self, step):
        """Shift the system clock by ``step`` seconds."""
        self._observations.step += step

    def set_rules(self, *rules):
        self.rules = rules
        self.engine.tick()

    def tick(self, after=1.0, *, times=1):
        """Advance the clock and evaluate the rules, ``times`` times."""
        for _ in range(times):
            self.now += after
            self.wall += after
            self.engine.tick()

    @property
    def states(self):
        return [(alert.rule, alert.operation, alert.state) for alert in self.published]

    @property
    def active(self):
        return {(a.rule, a.operation): a.state for a in self.engine.active()}


@pytest.fixture
def harness(monitor):
    """An engine that evaluates its rules on ``monitor`` only when the test calls ``tick``."""
    return EngineHarness(monitor)
