"""A monitor's alerts: its rules, silences and sinks, and the threads that process them."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nanospan import _core
from nanospan.alerts.alerts_file import AlertsFileError, Problem, load
from nanospan.alerts.engine import Clock, Engine
from nanospan.alerts.fields import check_seconds
from nanospan.alerts.manager_state import ManagerState
from nanospan.alerts.observations import MonitorObservations
from nanospan.alerts.rules import Rule
from nanospan.alerts.silences import Silence
from nanospan.alerts.sinks import FunctionSink, Sink
from nanospan.reentrant import LiveObjects
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.delivery import Delivery, SinkWorker
    from nanospan.recorder import Recorder

__all__ = ["Alerts"]

logger = logging.getLogger("nanospan.alerts")

CLOSE_SECONDS = 2.0
"""How long ``close`` (by default) and interpreter exit wait for queued alerts, in seconds."""


class Alerts:
    """A monitor's alert rules, silences and sinks, available as ``monitor.alerts``.

    ```python
    monitor.alerts.add(StatisticRule(name="slow", operation="query", statistic="p95", above=0.1))
    monitor.alerts.add_sink(print)
    ```

    Adding the first rule starts a daemon thread that evaluates the rules; recording is not slowed
    down. If no sink is added, alerts go to the logger ``nanospan.alerts``. Every method may be
    called from any thread, signal handler or finaliser. ``flush`` and ``close`` wait no longer than
    their ``timeout``, even in a handler that has interrupted the thread they wait for.

    A forked child has the same rules, silences and sinks, but starts with no alerts and an empty
    history; the parent's alerts are delivered by the parent only. At interpreter exit, delivering
    queued alerts may take up to 2 seconds.

    Args:
        monitor: The monitor to watch. Only a weak reference to it is kept; the thread ends once the
            monitor is freed.
        clock: The monotonic and wall clocks to read; the system's by default.
    """

    def __init__(
        self,
        monitor: Recorder,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._observations = MonitorObservations(monitor)
        self._clock = clock or Clock()
        self._state: _core.Atomic[ManagerState] = _core.Atomic(ManagerState(self._new_engine()))
        _instances.add(self)

    def _new_engine(self) -> Engine:
        return Engine(
            self._observations,
            self._settings,
            self._publish,
            self._clock,
            on_monitor_gone=self.close,
        )

    def _settings(self) -> tuple[tuple[Rule, ...], tuple[Silence, ...]]:
        state = self._state.get()
        return tuple(state.rules.values()), state.silences

    def _publish(self, alert: Alert, announce: bool) -> None:
        self._state.get().history.append(alert)
        if not announce:
            return
        # A sink that is added meanwhile either finds the alert among the firing ones, or is one of
        # the workers here; so it receives every transition once, and in order.
        state = self._state.update(lambda state: state.after(alert))
        for worker in state.receivers:
            worker.put(alert)

    def _change(self, change: Callable[[ManagerState], ManagerState]) -> None:
        """Replace the state, and let the threads act on the new one.

        ``change`` may be called several times, and must not change anything itself.
        """
        removed: tuple[SinkWorker, ...] = ()

        def noting_removed(state: ManagerState) -> ManagerState:
            nonlocal removed
            after = change(state)
            removed = tuple(each for each in state.workers if each not in after.workers)
            return after

        self._state.update(noting_removed)
        state = self._state.get()
        state.engine.wake()
        if state.rules and not state.closed:
            state.engine.start()
        for worker in state.workers:
            worker.start()
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker in removed:
            worker.end(deadline)  # the thread ends by itself

    def add(self, rule: Rule, *, replace: bool = False) -> None:
        """Add a rule and start evaluating it.

        Args:
            rule: The rule to add.
            replace: Whether to replace an existing rule with the same name. The old rule's alerts
                resolve unless the new rule is equal to it.

        Raises:
            TypeError: If ``rule`` is not a StatisticRule, RegressionRule or ChangeRule.
            ValueError: If there is already a rule with this name and ``replace`` is false.
            RuntimeError: If :meth:`close` was called.
        """
        if not isinstance(rule, Rule):
            raise TypeError(
                "rule must be a StatisticRule, RegressionRule or ChangeRule, "
                f"got {type(rule).__name__}"
            )

        def add(state: ManagerState) -> ManagerState:
            state.check_open()
            if not replace and rule.name in state.rules:
                raise ValueError(
                    f"there is already a rule named {shown(rule.name)}; "
                    "remove it first or pass replace=True"
                )
            return dataclasses.replace(state, rules={**state.rules, rule.name: rule})

        self._change(add)

    def remove(self, name: str) -> None:
        """Remove the rule with this name; its firing alerts resolve.

        Raises:
            KeyError: If there is no rule with this name.
        """

        def remove(state: ManagerState) -> ManagerState:
            if name not in state.rules:
                raise KeyError(name)
            rules = {key: rule for key, rule in state.rules.items() if key != name}
            return dataclasses.replace(state, rules=rules)

        self._change(remove)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Add the rules, sinks and silences from a TOML file.

        If the file was loaded before, the rules, sinks and silences from that load are replaced. If
        there is an error, nothing changes.

        Args:
            path: The path of the file; see :func:`nanospan.alerts.load`.

        Raises:
            AlertsFileError: (a ``ValueError``) If the file contains an error, or one of its rules
                has the same name as a rule that was not loaded from this file.
            OSError: If the file cannot be read.
            RuntimeError: If :meth:`close` was called.
        """
        loaded = load(path)
        key = Path(path).absolute()

        def replace_file(state: ManagerState) -> ManagerState:
            state.check_open()
            before = state.files.get(key)
            old_names = {rule.name for rule in before.rules} if before else set()
            rules = {name: rule for name, rule in state.rules.items() if name not in old_names}
            taken = [rule.name for rule in loaded.rules if rule.name in rules]
            if taken:
                message = (
                    f"there is already a rule named {shown(taken[0])}; rename one of the two rules"
                )
                raise AlertsFileError(loaded.path, [Problem(0, "", message)])
            rules.update((rule.name, rule) for rule in loaded.rules)
            old_silences = before.silences if before else ()
            kept = (each for each in state.silences if each not in old_silences)
            state = dataclasses.replace(
                state,
                rules=rules,
                files={**state.files, key: loaded},
                silences=(*kept, *loaded.silences),
            )
            return state.without_sinks(before.sinks if before else ()).with_sinks(loaded.sinks)

        self._change(replace_file)

    def add_sink(self, sink: Sink | Callable[[Alert], object]) -> Sink:
        """Add a sink to which alerts are delivered from now on.

        Args:
            sink: A sink, or a function that takes an :class:`Alert`. An async function runs on the
                event loop from which ``add_sink`` is called.

        Returns:
            The registered sink, which can be passed to :meth:`remove_sink`.

        Raises:
            TypeError: If ``sink`` is neither a Sink nor callable.
            ValueError: If ``sink`` is an async function and no event loop is running, or if it is a
                Sink that is already registered.
            RuntimeError: If :meth:`close` was called.
        """
        made = sink if isinstance(sink, Sink) else FunctionSink(sink)

        def add(state: ManagerState) -> ManagerState:
            state.check_open()
            if any(worker.sink == made for worker in state.workers):
                raise ValueError(f"{shown(made)} is already registered; add each sink once")
            return state.with_sinks([made])

        self._change(add)
        return made

    def remove_sink(self, sink: Sink) -> None:
        """Remove a sink; alerts already queued for it may still be delivered for up to 2 seconds.

        Args:
            sink: The sink, as returned by :meth:`add_sink`.

        Raises:
            ValueError: If ``sink`` is not registered.
        """

        def remove(state: ManagerState) -> ManagerState:
            if all(worker.sink != sink for worker in state.workers):
                raise ValueError(f"{shown(sink)} is not registered; pass what add_sink() returned")
            return state.without_sinks([sink])

        self._change(remove)

    def silence(  # noqa: PLR0913 - the fields of a Silence, all keyword-only
        self,
        *,
        until: float | datetime | None = None,
        seconds: float | None = None,
        rule: str = "*",
        operation: str = "*",
        labels: Mapping[str, str] | None = None,
        comment: str = "",
    ) -> Silence:
        """Withhold matching alerts from the sinks until a given time.

        Args:
            until: When the silence ends, as a ``datetime`` or a Unix time in seconds.
            seconds: How long the silence lasts from now, as an alternative to ``until``.
            rule: A rule's name, or a pattern with ``*``, ``?`` and ``[...]``; matches every rule
                by default.
            operation: An operation's name, or a pattern; matches every operation by default.
            labels: Patterns that the values of the rule's labels must match, keyed by label name.
            comment: The reason for the silence.

        Returns:
            The silence, which can be passed to :meth:`unsilence`.

        Raises:
            ValueError: If neither or both of ``until`` and ``seconds`` are given, or a value is
                invalid.
        """
        if (until is None) == (seconds is None):
            given = "neither" if until is None else "both"
            raise ValueError(f"exactly one of until and seconds must be given, got {given}")
        if until is None:
            until = self._clock.time() + check_seconds("seconds", seconds, minimum=0)
        silence = Silence(
            until=until,  # type: ignore[arg-type]  # a datetime is converted to Unix time
            rule=rule,
            operation=operation,
            labels=labels or {},
            comment=comment,
        )
        now = self._clock.time()

        def add(state: ManagerState) -> ManagerState:
            current = [each for each in state.silences if each.until > now]
            return dataclasses.replace(state, silences=(*current, silence))

        self._change(add)
        return silence

    def unsilence(self, silence: Silence) -> None:
        """End a silence early; do nothing if it has already ended."""

        def remove(state: ManagerState) -> ManagerState:
            kept = tuple(each for each in state.silences if each != silence)
            return dataclasses.replace(state, silences=kept)

        self._change(remove)

    def silences(self) -> list[Silence]:
        """Return the silences that have not expired."""
        now = self._clock.time()
        return [silence for silence in self._state.get().silences if silence.until > now]

    def rules(self) -> list[Rule]:
        """Return the rules in the order in which they were added."""
        return list(self._state.get().rules.values())

    def active(self) -> list[Alert]:
        """Return the alerts that were pending or firing when the rules were last evaluated."""
        return self._state.get().engine.active()

    def history(self) -> list[Alert]:
        """Return the last 1,000 state changes of alerts, oldest first."""
        return list(self._state.get().history.copy())

    def deliveries(self) -> list[Delivery]:
        """Return the delivery statistics of each sink."""
        return [worker.report() for worker in self._state.get().receivers]

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Wait until every queued alert has been delivered, lost, or kept by its sink for a retry.

        Args:
            timeout: Maximum time to wait, in seconds.

        Returns:
            True if no queued alerts are left; False if the timeout expired first.
        """
        deadline = time.monotonic() + timeout
        workers = self._state.get().receivers
        return all(each.flush(max(deadline - time.monotonic(), 0.0)) for each in workers)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._state.get().closed

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Stop evaluating rules, deliver queued alerts and stop the threads.

        Firing alerts do not resolve, because it is unknown whether their condition has ended. Async
        sinks need their event loop to keep running: from a coroutine on that loop, use ``await
        asyncio.to_thread(alerts.close)``.

        Args:
            timeout: Maximum time to wait, in seconds. Alerts not delivered by then are lost.
        """
        was_closed = False

        def close(state: ManagerState) -> ManagerState:
            nonlocal was_closed
            was_closed = state.closed
            return dataclasses.replace(state, closed=True)

        state = self._state.update(close)
        if was_closed:
            return
        deadline = time.monotonic() + timeout
        state.engine.stop(timeout / 2)
        workers = (*state.workers, state.default)
        for worker in workers:
            worker.end(deadline)
        for worker in workers:
            worker.join()

    def _restart_in_child(self) -> None:
        """Replace what belongs to the parent's threads in a forked child, where they do not exist.

        The fork may have been made by a signal handler that has interrupted a method of this
        object, which then goes on in the child, too.
        """
        parent = self._state.get()
        for worker in (*parent.workers, parent.default):
            worker.abandon()
            worker.sink.after_fork()
        parent.engine.stop(0)

        def restart(state: ManagerState) -> ManagerState:
            sinks = [worker.sink for worker in state.workers]
            fresh = ManagerState(
                self._new_engine(), state.rules, state.silences, state.files, closed=state.closed
            )
            return fresh.with_sinks(sinks)

        self._change(restart)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self.active())} active"
        return f"<{type(self).__name__} of {len(self.rules())} rules, {state}>"


_instances: LiveObjects[Alerts] = LiveObjects()


def _close_all() -> None:
    deadline = time.monotonic() + CLOSE_SECONDS
    for alerts in _instances.all():
        alerts.close(max(deadline - time.monotonic(), 0.1))


def _restart_all_in_child() -> None:
    for alerts in _instances.all():
        try:
            alerts._restart_in_child()  # noqa: SLF001 - defined in this module
        except Exception:  # the child continues without alerts
            logger.exception("alerts could not be restarted after a fork")


atexit.register(_close_all)
os.register_at_fork(after_in_child=_restart_all_in_child)
