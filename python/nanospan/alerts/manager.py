"""The alerts of a monitor: its rules, silences and sinks, and the threads that serve them."""

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
"""How long closing, and the interpreter's exit, wait for queued alerts to be delivered."""


class Alerts:
    """The rules, silences and sinks of a monitor, available as ``monitor.alerts``.

    ```python
    monitor.alerts.add(StatisticRule(name="slow", operation="query", statistic="p95", above=0.1))
    monitor.alerts.add_sink(print)
    ```

    Adding the first rule starts a daemon thread that evaluates the rules; recording is not slowed.
    Without a sink, alerts go to the logger ``nanospan.alerts``. Every method may be called from any
    thread.

    A forked child has the same rules, silences and sinks, but starts without alerts and with an
    empty history; the parent delivers what the parent found. At the interpreter's exit, delivery of
    queued alerts may take up to 2 seconds.

    Args:
        monitor: The monitor to watch. Only a weak reference is kept: the thread ends with it.
        clock: The clocks to use.
    """

    def __init__(
        self,
        monitor: Recorder,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._observations = MonitorObservations(monitor)
        self._clock = clock or Clock()
        # These are replaced and never modified, so that a fork at any moment finds a whole value.
        self._rules: dict[str, Rule] = {}
        self._silences: tuple[Silence, ...] = ()
        self._sinks: tuple[Sink, ...] = ()
        self._files: dict[Path, AlertsFile] = {}
        self._closed = False
        self._init_process_state()
        _instances.add(self)

    def _init_process_state(self) -> None:
        """Create what must not be shared with a forked child, starting no thread yet."""
        self._lock = threading.RLock()
        self._history: deque[Alert] = deque(maxlen=HISTORY)
        # The firing alerts, as last announced to the sinks, by rule and operation.
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
        # The lock ensures that a sink being added gets every transition, in order.
        with self._lock:
            if alert.state == "firing":
                self._firing[alert.rule, alert.operation] = alert
            else:
                self._firing.pop((alert.rule, alert.operation), None)
            for worker in self._workers or (self._default,):
                worker.put(alert)

    def add(self, rule: Rule, *, replace: bool = False) -> None:
        """Add a rule, to be evaluated from now on.

        Args:
            rule: The rule.
            replace: Whether to replace a rule of the same name. The alerts of the old rule resolve
                unless the new one is equal.

        Raises:
            TypeError: If ``rule`` is not a StatisticRule, RegressionRule or ChangeRule.
            ValueError: If there is a rule of the same name and ``replace`` is false.
            RuntimeError: If these alerts are closed.
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
        """Remove a rule; its firing alerts resolve.

        Raises:
            KeyError: If there is no rule of this name.
        """
        with self._lock:
            if name not in self._rules:
                raise KeyError(name)
            self._set_rules({key: rule for key, rule in self._rules.items() if key != name})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Add the rules, sinks and silences of a TOML file.

        Loading a file again replaces what it added before. If there is an error, nothing changes.

        Args:
            path: The file; see :func:`nanospan.alerts.load`.

        Raises:
            AlertsFileError: (a ``ValueError``) If the file contains an error, or one of its rules
                has the name of a rule that came from elsewhere.
            OSError: If the file cannot be read.
            RuntimeError: If these alerts are closed.
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
                message = f"there is already a rule named {taken[0]!r}; rename one of the two"
                raise AlertsFileError(loaded.path, [Problem(0, "", message)])
            rules.update((rule.name, rule) for rule in loaded.rules)
            self._files = {**self._files, key: loaded}
            old_silences = before.silences if before else ()
            kept = (each for each in self._silences if each not in old_silences)
            self._set_silences((*kept, *loaded.silences))
            self._change_sinks(added=loaded.sinks, removed=before.sinks if before else ())
            self._set_rules(rules)

    def add_sink(self, sink: Sink | Callable[[Alert], object]) -> Sink:
        """Add a sink, which receives alerts from now on.

        Args:
            sink: A sink, or a function that takes an alert. An async function is called on the
                event loop that is running now.

        Returns:
            The sink, to be passed to :meth:`remove_sink`.

        Raises:
            TypeError: If ``sink`` is neither a Sink nor callable.
            ValueError: If ``sink`` is an async function and no event loop is running, or it is a
                Sink that was already added.
            RuntimeError: If these alerts are closed.
        """
        made = sink if isinstance(sink, Sink) else FunctionSink(sink)
        with self._lock:
            self._check_open()
            if made in self._sinks:
                raise ValueError(f"{made!r} is already registered; add each sink once")
            self._change_sinks(added=(made,), removed=())
        return made

    def remove_sink(self, sink: Sink) -> None:
        """Remove a sink; alerts queued for it may be delivered for another 2 seconds.

        Args:
            sink: The return value of :meth:`add_sink`.

        Raises:
            ValueError: If ``sink`` is not registered.
        """
        with self._lock:
            if sink not in self._sinks:
                raise ValueError(f"{sink!r} is not registered; pass what add_sink() returned")
            self._change_sinks(added=(), removed=(sink,))

    def silence(  # noqa: PLR0913 - the fields of a Silence, all by keyword
        self,
        *,
        until: float | datetime | None = None,
        seconds: float | None = None,
        rule: str = "*",
        operation: str = "*",
        labels: Mapping[str, str] | None = None,
        comment: str = "",
    ) -> Silence:
        """Keep alerts from the sinks for a time.

        Args:
            until: The end, as a ``datetime`` or a Unix time in seconds.
            seconds: The time from now to the end, instead of ``until``.
            rule: A rule's name or a pattern.
            operation: An operation's name or a pattern.
            labels: Patterns that the rule's labels must match, by label name.
            comment: The reason for the silence.

        Returns:
            The silence, to be passed to :meth:`unsilence`.

        Raises:
            ValueError: If not exactly one of ``until`` and ``seconds`` is given, or a value is
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
        """End a silence early; do nothing if it is already over."""
        with self._lock:
            self._set_silences(tuple(each for each in self._silences if each != silence))

    def silences(self) -> list[Silence]:
        """Return the silences that are not over."""
        now = self._clock.time()
        return [silence for silence in self._silences if silence.until > now]

    def rules(self) -> list[Rule]:
        """Return the rules in the order in which they were added."""
        return list(self._rules.values())

    def active(self) -> list[Alert]:
        """Return the alerts that were pending or firing when the rules were last evaluated."""
        return self._engine.active()

    def history(self) -> list[Alert]:
        """Return the last 1,000 changes of state, oldest first."""
        return list(self._history)

    def deliveries(self) -> list[Delivery]:
        """Return each sink's counts of queued, delivered and lost alerts."""
        return [worker.report() for worker in self._workers or (self._default,)]

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Wait until all queued alerts are delivered.

        Returns:
            False if that took longer than ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        workers = self._workers or (self._default,)
        return all(c.flush(max(deadline - time.monotonic(), 0.0)) for c in workers)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Stop evaluating rules, deliver queued alerts and end the threads.

        Firing alerts do not resolve, because it is not known whether their condition is over. Async
        sinks need their event loop to be running: in a coroutine on that loop, use ``await
        asyncio.to_thread(alerts.close)``.

        Args:
            timeout: The most seconds to take. Alerts that are not delivered by then are lost.
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
            raise RuntimeError("these alerts are closed; get new ones from monitor.alerts")

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
            worker.end(deadline)  # its thread ends by itself

    def _restart_in_child(self) -> None:
        """Start again after a fork: the parent's threads are gone and its locks may stay locked."""
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
            alerts._restart_in_child()  # noqa: SLF001 - of this module
        except Exception:  # the child goes on without alerts
            logger.exception("alerts could not be restarted after a fork")


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_all_in_child)
