"""A monitor's alerts: its rules, silences and sinks, and the threads that process them."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from nanospan.alerts.alerts_file import AlertsFile, AlertsFileError, Problem, load
from nanospan.alerts.delivery import Delivery, SinkWorker
from nanospan.alerts.engine import Clock, Engine
from nanospan.alerts.fields import check_seconds
from nanospan.alerts.observations import MonitorObservations
from nanospan.alerts.rules import Rule
from nanospan.alerts.silences import Silence
from nanospan.alerts.sinks import FunctionSink, LogSink, Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from nanospan.alerts.alert import Alert
    from nanospan.recorder import Recorder

__all__ = ["Alerts"]

logger = logging.getLogger("nanospan.alerts")

HISTORY = 1000
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
    called from any thread.

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
        # Replaced, never modified in place, so that a fork always sees a consistent value.
        self._rules: dict[str, Rule] = {}
        self._silences: tuple[Silence, ...] = ()
        self._sinks: tuple[Sink, ...] = ()
        self._files: dict[Path, AlertsFile] = {}
        self._closed = False
        self._init_process_state()
        _instances.add(self)

    def _init_process_state(self) -> None:
        """Create the state that a forked child must not share with its parent; start no threads."""
        self._lock = threading.RLock()
        self._history: deque[Alert] = deque(maxlen=HISTORY)
        # The firing alerts as last announced to the sinks, keyed by rule and operation.
        self._firing: dict[tuple[str, str], Alert] = {}
        self._default = SinkWorker(LogSink())
        self._workers = tuple(SinkWorker(sink) for sink in self._sinks)
        self._engine = Engine(
            self._observations, self._publish, self._clock, on_monitor_gone=self.close
        )

    def _publish(self, alert: Alert, announce: bool) -> None:
        self._history.append(alert)
        if not announce:
            return
        # The lock ensures that a sink being added receives every transition, in order.
        with self._lock:
            if alert.state == "firing":
                self._firing[alert.rule, alert.operation] = alert
            else:
                self._firing.pop((alert.rule, alert.operation), None)
            for worker in self._workers or (self._default,):
                worker.put(alert)

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
        with self._lock:
            self._check_open()
            if not replace and rule.name in self._rules:
                raise ValueError(
                    f"there is already a rule named {rule.name!r}; "
                    "remove it first or pass replace=True"
                )
            self._set_rules({**self._rules, rule.name: rule})

    def remove(self, name: str) -> None:
        """Remove the rule with this name; its firing alerts resolve.

        Raises:
            KeyError: If there is no rule with this name.
        """
        with self._lock:
            if name not in self._rules:
                raise KeyError(name)
            self._set_rules({key: rule for key, rule in self._rules.items() if key != name})

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
        with self._lock:
            self._check_open()
            before = self._files.get(key)
            old_names = {rule.name for rule in before.rules} if before else set()
            rules = {name: rule for name, rule in self._rules.items() if name not in old_names}
            taken = [rule.name for rule in loaded.rules if rule.name in rules]
            if taken:
                message = f"there is already a rule named {taken[0]!r}; rename one of the two rules"
                raise AlertsFileError(loaded.path, [Problem(0, "", message)])
            rules.update((rule.name, rule) for rule in loaded.rules)
            self._files = {**self._files, key: loaded}
            old_silences = before.silences if before else ()
            kept = (each for each in self._silences if each not in old_silences)
            self._set_silences((*kept, *loaded.silences))
            self._change_sinks(added=loaded.sinks, removed=before.sinks if before else ())
            self._set_rules(rules)

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
        with self._lock:
            self._check_open()
            if made in self._sinks:
                raise ValueError(f"{made!r} is already registered; add each sink once")
            self._change_sinks(added=(made,), removed=())
        return made

    def remove_sink(self, sink: Sink) -> None:
        """Remove a sink; alerts already queued for it may still be delivered for up to 2 seconds.

        Args:
            sink: The sink, as returned by :meth:`add_sink`.

        Raises:
            ValueError: If ``sink`` is not registered.
        """
        with self._lock:
            if sink not in self._sinks:
                raise ValueError(f"{sink!r} is not registered; pass what add_sink() returned")
            self._change_sinks(added=(), removed=(sink,))

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
        with self._lock:
            self._set_silences((*self.silences(), silence))
        return silence

    def unsilence(self, silence: Silence) -> None:
        """End a silence early; do nothing if it has already ended."""
        with self._lock:
            self._set_silences(tuple(each for each in self._silences if each != silence))

    def silences(self) -> list[Silence]:
        """Return the silences that have not expired."""
        now = self._clock.time()
        return [silence for silence in self._silences if silence.until > now]

    def rules(self) -> list[Rule]:
        """Return the rules in the order in which they were added."""
        return list(self._rules.values())

    def active(self) -> list[Alert]:
        """Return the alerts that were pending or firing when the rules were last evaluated."""
        return self._engine.active()

    def history(self) -> list[Alert]:
        """Return the last 1,000 state changes of alerts, oldest first."""
        return list(self._history)

    def deliveries(self) -> list[Delivery]:
        """Return the delivery statistics of each sink."""
        return [worker.report() for worker in self._workers or (self._default,)]

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Wait until every queued alert has been delivered, lost, or kept by its sink for a retry.

        Args:
            timeout: Maximum time to wait, in seconds.

        Returns:
            True if no queued alerts are left; False if the timeout expired first.
        """
        deadline = time.monotonic() + timeout
        workers = self._workers or (self._default,)
        return all(c.flush(max(deadline - time.monotonic(), 0.0)) for c in workers)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Stop evaluating rules, deliver queued alerts and stop the threads.

        Firing alerts do not resolve, because it is unknown whether their condition has ended. Async
        sinks need their event loop to keep running: from a coroutine on that loop, use ``await
        asyncio.to_thread(alerts.close)``.

        Args:
            timeout: Maximum time to wait, in seconds. Alerts not delivered by then are lost.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        deadline = time.monotonic() + timeout
        self._engine.stop(timeout / 2)
        workers = (*self._workers, self._default)
        for worker in workers:
            worker.end(deadline)
        for worker in workers:
            worker.join()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this Alerts object is closed; use monitor.alerts to get a new one")

    def _set_rules(self, rules: dict[str, Rule]) -> None:
        self._rules = rules
        self._engine.set_rules(tuple(rules.values()))
        if rules:
            self._engine.start()

    def _set_silences(self, silences: tuple[Silence, ...]) -> None:
        self._silences = silences
        self._engine.set_silences(silences)

    def _change_sinks(self, *, added: tuple[Sink, ...], removed: tuple[Sink, ...]) -> None:
        old = [worker for worker in self._workers if worker.sink in removed]
        kept = [worker for worker in self._workers if worker.sink not in removed]
        new = [SinkWorker(sink) for sink in added]
        self._workers = (*kept, *new)
        for worker in new:
            if worker.sink.wants_current_alerts:
                for alert in self._firing.values():
                    worker.put(alert)
        self._sinks = tuple(worker.sink for worker in self._workers)
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker in old:
            worker.end(deadline)  # the thread ends by itself

    def _restart_in_child(self) -> None:
        """Replace threads and locks in a forked child, where the parent's threads do not exist."""
        for sink in self._sinks:
            sink.after_fork()
        self._init_process_state()
        self._engine.set_silences(self._silences)
        if self._rules and not self._closed:
            self._set_rules(self._rules)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self.active())} active"
        return f"<{type(self).__name__} of {len(self._rules)} rules, {state}>"


_instances: weakref.WeakSet[Alerts] = weakref.WeakSet()


def _close_all() -> None:
    deadline = time.monotonic() + CLOSE_SECONDS
    for alerts in list(_instances):
        alerts.close(max(deadline - time.monotonic(), 0.1))


def _restart_all_in_child() -> None:
    for alerts in list(_instances):
        try:
            alerts._restart_in_child()  # noqa: SLF001 - defined in this module
        except Exception:  # the child continues without alerts
            logger.exception("alerts could not be restarted after a fork")


atexit.register(_close_all)
os.register_at_fork(after_in_child=_restart_all_in_child)
