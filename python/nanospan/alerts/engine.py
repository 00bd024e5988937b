"""The engine: a thread that looks, takes every alert a step on, and says what changed."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanospan.alerts.alert import Alert, describe, instance_name
from nanospan.alerts.evaluation import Evaluator
from nanospan.alerts.observations import MonitorGoneError, Observations
from nanospan.alerts.states import Change, Finding, Track, step

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanospan.alerts.rules import Rule
    from nanospan.alerts.silences import Silence

__all__ = ["Clock", "Engine"]

logger = logging.getLogger("nanospan.alerts")

# After each look the thread rests so many times as long as it took: however many operations there
# are, it uses at most a twentieth of a core.
REST = 19


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks that alerts go by.

    Attributes:
        monotonic: Seconds for windows and waiting; never goes back.
        time: Unix time, for what is shown.
    """

    monotonic: Callable[[], float] = time.monotonic
    time: Callable[[], float] = time.time


@dataclass(slots=True)
class _Entry:
    """An alert that is not idle."""

    rule: Rule
    operation: str
    track: Track = field(default_factory=Track)
    value: float | None = None
    summary: str = ""
    since: float = 0.0
    fired_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Moment:
    """One look: when it is, on both clocks, and what is silenced."""

    now: float
    wall: float
    silences: tuple[Silence, ...]

    def mutes(self, rule: Rule, operation: str) -> bool:
        return any(silence.covers(rule, operation, self.wall) for silence in self.silences)


class Engine:
    """Evaluates rules and keeps the states of their alerts.

    `tick` is the whole work, once; `start` has a daemon thread do it at the interval that suits the
    rules. `tick` belongs to one thread at a time; everything else may be called from any.

    Args:
        observations: What the rules are evaluated on.
        publish: Called with every change, and whether the sinks are to be told. Must be quick.
        clock: What time it is.
        gone: Called by the thread, as the last thing it does, when the monitor is gone.
    """

    def __init__(
        self,
        observations: Observations,
        publish: Callable[[Alert, bool], None],
        clock: Clock | None = None,
        *,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._observations = observations
        self._publish = publish
        self._clock = clock or Clock()
        self._gone = gone
        self._evaluator = Evaluator()
        # Replaced, never changed, so that a look under way is not disturbed.
        self._rules: tuple[Rule, ...] = ()
        self._silences: tuple[Silence, ...] = ()
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._active: tuple[Alert, ...] = ()
        self._stopping = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble = ""

    def set_rules(self, rules: tuple[Rule, ...]) -> None:
        """Have these rules evaluated from now on. Alerts of equal rules stay as they are."""
        self._rules = rules
        self._wake.set()

    def set_silences(self, silences: tuple[Silence, ...]) -> None:
        """Have these silences keep alerts from the sinks from now on."""
        self._silences = silences
        self._wake.set()

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        return min((rule.interval for rule in self._rules), default=1.0)

    def active(self) -> list[Alert]:
        """The alerts that were pending or firing at the last look."""
        return list(self._active)

    def tick(self) -> None:
        """Look once, and publish what changed.

        Raises:
            MonitorGoneError: If the monitor no longer exists.
        """
        moment = _Moment(self._clock.monotonic(), self._clock.time(), self._silences)
        rules = self._rules
        self._end_removed(rules, moment)
        if rules:
            found = self._evaluator.findings(rules, self._observations, moment.now)
            for rule, operation, finding in found:
                self._advance(rule, operation, finding, moment)
        self._active = tuple(
            self._alert(entry, moment)
            for entry in self._entries.values()
            if entry.track.state in {"pending", "firing"}
        )

    def _end_removed(self, rules: tuple[Rule, ...], moment: _Moment) -> None:
        """Alerts of rules that are gone do not fire for ever."""
        by_name = {rule.name: rule for rule in rules}
        gone = [key for key, entry in self._entries.items() if by_name.get(key[0]) != entry.rule]
        for key in gone:
            entry = self._entries.pop(key)
            over = Finding(breached=False, cleared=True, value=entry.value)
            entry.track, change = step(entry.track, over, moment.now)
            if change is not None:
                self._tell(entry, change, moment)

    def _advance(self, rule: Rule, operation: str, finding: Finding, moment: _Moment) -> None:
        key = (rule.name, operation)
        entry = self._entries.get(key)
        if entry is None:
            if not finding.breached:
                return
            entry = self._entries[key] = _Entry(rule, operation)
        entry.value = finding.value
        if finding.breached:
            entry.summary = describe(rule, operation, finding.value)
        entry.track, change = step(
            entry.track,
            finding,
            moment.now,
            for_seconds=rule.for_seconds,
            cooldown=rule.cooldown,
            muted=moment.mutes(rule, operation),
        )
        if change is not None:
            self._tell(entry, change, moment)
        if entry.track.is_idle(moment.now):
            del self._entries[key]

    def _tell(self, entry: _Entry, change: Change, moment: _Moment) -> None:
        if change.entered:
            entry.since = moment.wall
            if change.state == "firing":
                entry.fired_at = moment.wall
            elif change.state == "pending":
                entry.fired_at = None
        self._publish(self._alert(entry, moment), change.announce)

    def _alert(self, entry: _Entry, moment: _Moment) -> Alert:
        rule = entry.rule
        return Alert(
            rule=rule.name,
            operation=entry.operation,
            state=entry.track.state,
            severity=rule.severity,
            statistic=rule.watched,
            value=entry.value,
            limit=rule.limit,
            window=rule.seconds,
            summary=entry.summary,
            labels=rule.labels,
            since=entry.since,
            fired_at=entry.fired_at,
            silenced=moment.mutes(rule, entry.operation),
            instance=instance_name(),
        )

    def start(self) -> None:
        """Have a daemon thread look from now on; without effect if one does."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="nanospan-alerts", daemon=True)
            thread.start()
            self._thread = thread

    def stop(self, timeout: float) -> None:
        """Stop the thread, waiting for it at most `timeout` seconds."""
        self._stopping = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            try:
                self.tick()
                self._trouble = ""
            except MonitorGoneError:
                self._gone()
                return
            except BaseException as exc:
                if self._trouble != (trouble := repr(exc)):
                    self._trouble = trouble
                    logger.exception("alerts could not be evaluated")
            took = time.monotonic() - began
            self._wake.wait(max(self.interval - took, took * REST))
            self._wake.clear()
