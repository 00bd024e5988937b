"""The alert engine: evaluates rules periodically and publishes changes of alert states."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanospan import _core
from nanospan.alerts.alert import Alert, describe, instance_name
from nanospan.alerts.evaluation import Evaluator
from nanospan.alerts.observations import MonitorGoneError, Observations
from nanospan.alerts.states import Finding, Lifecycle, Transition, step
from nanospan.reentrant import Wakeup, start_thread
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanospan.alerts.rules import Rule
    from nanospan.alerts.silences import Silence

__all__ = ["Clock", "Engine"]

logger = logging.getLogger("nanospan.alerts")

REST_RATIO = 19
"""The minimum pause after an evaluation, as a multiple of the evaluation's duration.

The pauses limit the alert thread to a twentieth of one core, however many operations there are.
"""


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks that the alert engine reads.

    Attributes:
        monotonic: Returns seconds on a clock that is never set back; used for windows and waiting.
        time: Returns Unix time in seconds; used for silences and the timestamps of alerts.
    """

    monotonic: Callable[[], float] = time.monotonic
    time: Callable[[], float] = time.time


@dataclass(slots=True)
class _Entry:
    """An alert that the engine tracks until it is inactive and its cooldown has expired."""

    rule: Rule
    operation: str
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    value: float | None = None
    summary: str = ""
    since: float = 0.0
    fired_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Moment:
    """The monotonic and the wall-clock time of an evaluation, and the silences to apply."""

    now: float
    wall: float
    silences: tuple[Silence, ...]

    def mutes(self, rule: Rule, operation: str) -> bool:
        return any(silence.covers(rule, operation, self.wall) for silence in self.silences)


class Engine:
    """Evaluates rules and tracks the states of their alerts.

    ``tick`` evaluates the rules once; ``start`` starts a daemon thread that calls ``tick`` at the
    shortest interval that any rule needs. Only one thread at a time may call ``tick``; all other
    methods may be called from any thread, signal handler or finaliser.

    Args:
        observations: Provides the monitor's data.
        settings: Returns the rules to evaluate and the silences to apply. If a rule equals an
            earlier one, its alerts keep their state.
        publish: Called with each alert that changed, and whether the sinks should receive it. Must
            return quickly.
        clock: The clocks to read; by default the real ones.
        on_monitor_gone: Called by the thread before it ends because the monitor no longer exists.
    """

    def __init__(
        self,
        observations: Observations,
        settings: Callable[[], tuple[tuple[Rule, ...], tuple[Silence, ...]]],
        publish: Callable[[Alert, bool], None],
        clock: Clock | None = None,
        *,
        on_monitor_gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._observations = observations
        self._settings = settings
        self._publish = publish
        self._clock = clock or Clock()
        self._on_monitor_gone = on_monitor_gone
        self._evaluator = Evaluator()
        self._entries: dict[tuple[str, str], _Entry] = {}
        # Replaced, never modified in place.
        self._active: tuple[Alert, ...] = ()
        self._stopping = False
        self._wakeup = Wakeup()
        self._started: _core.Atomic[threading.Thread | None] = _core.Atomic(None)
        self._last_error = ""

    def wake(self) -> None:
        """Evaluate the rules without waiting for the interval to end, because they have changed."""
        self._wakeup.set()

    @property
    def interval(self) -> float:
        """The time between evaluations, in seconds: the shortest interval of any rule."""
        rules, _ = self._settings()
        return min((rule.interval for rule in rules), default=1.0)

    @property
    def thread(self) -> threading.Thread | None:
        """The thread that evaluates the rules, or None if it was never started."""
        return self._started.get()

    def active(self) -> list[Alert]:
        """Return the alerts that were pending or firing at the last evaluation."""
        return list(self._active)

    def tick(self) -> None:
        """Evaluate all rules once and publish the resulting changes of alert states.

        Raises:
            MonitorGoneError: If the monitor no longer exists.
        """
        self._observations.check()
        rules, silences = self._settings()
        moment = _Moment(self._clock.monotonic(), self._clock.time(), silences)
        self._resolve_removed(rules, moment)
        if rules:
            found = self._evaluator.findings(rules, self._observations, moment.now)
            for rule, operation, finding in found:
                self._advance(rule, operation, finding, moment)
        self._active = tuple(
            self._alert(entry, moment)
            for entry in self._entries.values()
            if entry.lifecycle.state in {"pending", "firing"}
        )

    def _resolve_removed(self, rules: tuple[Rule, ...], moment: _Moment) -> None:
        """Resolve the alerts of removed or changed rules, which would otherwise fire forever."""
        by_name = {rule.name: rule for rule in rules}
        gone = [key for key, entry in self._entries.items() if by_name.get(key[0]) != entry.rule]
        for key in gone:
            entry = self._entries.pop(key)
            over = Finding(breached=False, cleared=True, value=entry.value)
            entry.lifecycle, transition = step(entry.lifecycle, over, moment.now)
            if transition is not None:
                self._apply(entry, transition, moment)

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
        entry.lifecycle, transition = step(
            entry.lifecycle,
            finding,
            moment.now,
            for_seconds=rule.for_seconds,
            cooldown=rule.cooldown,
            muted=moment.mutes(rule, operation),
        )
        if transition is not None:
            self._apply(entry, transition, moment)
        if entry.lifecycle.is_idle(moment.now):
            del self._entries[key]

    def _apply(self, entry: _Entry, transition: Transition, moment: _Moment) -> None:
        if transition.entered:
            entry.since = moment.wall
            if transition.state == "firing":
                entry.fired_at = moment.wall
            elif transition.state == "pending":
                entry.fired_at = None
        self._publish(self._alert(entry, moment), transition.announce)

    def _alert(self, entry: _Entry, moment: _Moment) -> Alert:
        rule = entry.rule
        return Alert(
            rule=rule.name,
            operation=entry.operation,
            state=entry.lifecycle.state,
            severity=rule.severity,
            statistic=rule.watched,
            value=entry.value,
            limit=rule.limit,
            window=rule.window_seconds,
            summary=entry.summary,
            labels=rule.labels,
            since=entry.since,
            fired_at=entry.fired_at,
            silenced=moment.mutes(rule, entry.operation),
            instance=instance_name(),
        )

    def start(self) -> None:
        """Start the daemon thread, unless it was started or stopped already."""
        if self._stopping or self.thread is not None:
            return
        thread = threading.Thread(target=self._run, name="nanospan-alerts", daemon=True)
        if not self._started.replace(None, thread):
            return
        try:
            start_thread(thread)
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._started.replace(thread, None)
            raise

    def stop(self, timeout: float) -> None:
        """Tell the thread to stop, and wait at most ``timeout`` seconds for it to end."""
        self._stopping = True
        self._wakeup.set()
        thread = self.thread
        if thread is not None and thread is not threading.current_thread():
            # The caller may be a signal handler that has interrupted `start`: then the thread ends
            # as soon as it has started.
            with suppress(RuntimeError):
                thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            try:
                self.tick()
                self._last_error = ""
            except MonitorGoneError:
                self._on_monitor_gone()
                return
            except BaseException as exc:
                if self._last_error != (error := shown(exc)):
                    self._last_error = error
                    logger.exception("alerts could not be evaluated")
            took = time.monotonic() - began
            self._wakeup.wait(max(self.interval - took, took * REST_RATIO))
