"""The alerts of a monitor: rules, silences and sinks, and the threads that serve them."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanospan.alerts.alerts_file import AlertsFile, AlertsFileError, Problem, load
from nanospan.alerts.delivery import Courier, Delivery
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
"""How long closing, and the interpreter's exit, wait for alerts to be delivered."""


class Alerts:
    """Rules on a monitor, and who is told when they hold. ``monitor.alerts`` is one.

    ```python
    monitor.alerts.add(StatisticRule(name="slow", operation="query", statistic="p95", above=0.1))
    monitor.alerts.add_sink(print)
    ```

    A daemon thread looks at the monitor from the first rule on; recording is not slowed. Without a
    sink, alerts go to the logger ``nanospan.alerts``. Every method may be called from any thread.

    A forked child goes on with the same rules, silences and sinks by itself, with no alerts and an
    empty history at first; what the parent found, the parent delivers. At the interpreter's exit
    what waits is delivered for at most 2 seconds.

    Args:
        monitor: What is looked at. It is not kept alive: the thread ends with it.
        clock: What time it is.
    """

    def __init__(
        self,
        monitor: Recorder,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._observations = MonitorObservations(monitor)
        self._clock = clock or Clock()
        # Replaced, never changed: a fork in the middle of a change finds the one or the other.
        self._rules: dict[str, Rule] = {}
        self._silences: tuple[Silence, ...] = ()
        self._sinks: tuple[Sink, ...] = ()
        self._files: dict[Path, AlertsFile] = {}
        self._closed = False
        self._begin()
        _every.add(self)

    def _begin(self) -> None:
        """Set up what belongs to this process; without any thread yet."""
        self._lock = threading.RLock()
        self._history: deque[Alert] = deque(maxlen=HISTORY)
        # What fires, as the sinks were told of it last, by rule and operation.
        self._standing: dict[tuple[str, str], Alert] = {}
        self._default = Courier(LogSink())
        self._couriers = tuple(Courier(sink) for sink in self._sinks)
        self._engine = Engine(self._observations, self._publish, self._clock, gone=self.close)

    def _publish(self, alert: Alert, announce: bool) -> None:
        self._history.append(alert)
        if not announce:
            return
        # Locked, so that a sink that is added meanwhile hears of each change, and in its order.
        with self._lock:
            if alert.state == "firing":
                self._standing[alert.rule, alert.operation] = alert
            else:
                self._standing.pop((alert.rule, alert.operation), None)
            for courier in self._couriers or (self._default,):
                courier.put(alert)

    def add(self, rule: Rule, *, replace: bool = False) -> None:
        """Have a rule evaluated from now on.

        Args:
            rule: The rule.
            replace: Whether it may take the place of one of the same name, whose alerts then end
                unless it is equal.

        Raises:
            TypeError: If it is no rule.
            ValueError: If there is a rule of this name, and it is not to be replaced.
            RuntimeError: If the alerts are closed.
        """
        if not isinstance(rule, Rule):
            raise TypeError(
                f"a rule is a StatisticRule, RegressionRule or ChangeRule, not {rule!r}"
            )
        with self._lock:
            self._refuse_closed()
            if not replace:
                self._refuse_name(rule, self._rules)
            self._set_rules({**self._rules, rule.name: rule})

    def remove(self, name: str) -> None:
        """Take a rule back; its firing alerts resolve.

        Raises:
            KeyError: If there is none of this name.
        """
        with self._lock:
            if name not in self._rules:
                raise KeyError(name)
            self._set_rules({key: rule for key, rule in self._rules.items() if key != name})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Add the rules, sinks and silences of a TOML file.

        A file that is loaded again replaces what it brought before. With an error nothing changes.

        Args:
            path: The file; see :func:`nanospan.alerts.load`.

        Raises:
            AlertsFileError: (a `ValueError`) If something is wrong in it, or a rule of another
                origin has the name of one of its rules.
            OSError: If it cannot be read.
            RuntimeError: If the alerts are closed.
        """
        loaded = load(path)
        key = Path(path).absolute()
        with self._lock:
            self._refuse_closed()
            before = self._files.get(key)
            old_names = {rule.name for rule in before.rules} if before else set()
            rules = {name: rule for name, rule in self._rules.items() if name not in old_names}
            try:
                for rule in loaded.rules:
                    self._refuse_name(rule, rules)
                    rules[rule.name] = rule
            except ValueError as exc:
                problem = Problem(0, "", str(exc))
                raise AlertsFileError(loaded.path, [problem]) from None
            self._files = {**self._files, key: loaded}
            old_silences = before.silences if before else ()
            kept = (each for each in self._silences if each not in old_silences)
            self._set_silences((*kept, *loaded.silences))
            self._change_sinks(added=loaded.sinks, removed=before.sinks if before else ())
            self._set_rules(rules)

    def add_sink(self, sink: Sink | Callable[[Alert], Any]) -> Sink:
        """Have a sink told of alerts from now on.

        Args:
            sink: A sink, or a function of one alert. An async function is called on the event loop
                that is running now.

        Returns:
            The sink, for :meth:`remove_sink`.

        Raises:
            TypeError: If it is neither.
            ValueError: If it is an async function and no event loop is running, or a sink that was
                added before.
            RuntimeError: If the alerts are closed.
        """
        made = sink if isinstance(sink, Sink) else FunctionSink(sink)
        with self._lock:
            self._refuse_closed()
            if made in self._sinks:
                raise ValueError(f"{made!r} was added before")
            self._change_sinks(added=(made,), removed=())
        return made

    def remove_sink(self, sink: Sink) -> None:
        """Take a sink back; what waits for it is delivered for at most 2 seconds meanwhile.

        Args:
            sink: What :meth:`add_sink` returned.

        Raises:
            ValueError: If it is not there.
        """
        with self._lock:
            if sink not in self._sinks:
                raise ValueError(f"{sink!r} is no sink of these alerts; add_sink returns what is")
            self._change_sinks(added=(), removed=(sink,))

    def silence(  # noqa: PLR0913 - what it matches and until when, all by keyword
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
            until: The end, as `datetime` or Unix time in seconds.
            seconds: Or: how long from now.
            rule: A rule's name or pattern.
            operation: An operation's name or pattern.
            labels: Patterns that labels of the rule must match.
            comment: Why.

        Returns:
            The silence, for :meth:`unsilence`.

        Raises:
            ValueError: If not exactly one of `until` and `seconds` is given, or a value is wrong.
        """
        if (until is None) == (seconds is None):
            raise ValueError("a silence takes one of until and seconds")
        if until is None:
            until = self._clock.time() + check_seconds("seconds", seconds, minimum=0)
        silence = Silence(
            until=until,  # type: ignore[arg-type]  # which it makes Unix seconds of
            rule=rule,
            operation=operation,
            labels=labels or {},
            comment=comment,
        )
        with self._lock:
            self._set_silences((*self.silences(), silence))
        return silence

    def unsilence(self, silence: Silence) -> None:
        """End a silence before its time; one that is over already is ignored."""
        with self._lock:
            self._set_silences(tuple(each for each in self._silences if each != silence))

    def silences(self) -> list[Silence]:
        """The silences that are not over."""
        now = self._clock.time()
        return [silence for silence in self._silences if silence.until > now]

    def rules(self) -> list[Rule]:
        """The rules, in the order they were added."""
        return list(self._rules.values())

    def active(self) -> list[Alert]:
        """The alerts that were pending or firing when the engine last looked."""
        return self._engine.active()

    def history(self) -> list[Alert]:
        """The last 1,000 changes of state, oldest first."""
        return list(self._history)

    def deliveries(self) -> list[Delivery]:
        """How each sink is doing: what it got, what waits, what was lost."""
        return [courier.report() for courier in self._couriers or (self._default,)]

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Wait until all that was found is delivered.

        Returns:
            Whether that was so within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        couriers = self._couriers or (self._default,)
        return all(c.flush(max(deadline - time.monotonic(), 0.0)) for c in couriers)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Stop looking, deliver what waits, and end the threads.

        Alerts that fire are not resolved by this: nobody knows whether what they report is over.
        Async sinks need their event loop meanwhile: from a coroutine on it, ``await
        asyncio.to_thread(alerts.close)``.

        Args:
            timeout: Seconds that this takes at most. What is not delivered then is lost.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        deadline = time.monotonic() + timeout
        self._engine.stop(timeout / 2)
        couriers = (*self._couriers, self._default)
        for courier in couriers:
            courier.end(deadline)
        for courier in couriers:
            courier.join()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RuntimeError("these alerts are closed; monitor.alerts gives new ones")

    def _refuse_name(self, rule: Rule, rules: Mapping[str, Rule]) -> None:
        if rule.name in rules:
            raise ValueError(f"there is a rule {rule.name!r}: remove it first, or replace it")

    def _set_rules(self, rules: dict[str, Rule]) -> None:
        self._rules = rules
        self._engine.set_rules(tuple(rules.values()))
        if rules:
            self._engine.start()

    def _set_silences(self, silences: tuple[Silence, ...]) -> None:
        self._silences = silences
        self._engine.set_silences(silences)

    def _change_sinks(self, *, added: tuple[Sink, ...], removed: tuple[Sink, ...]) -> None:
        leaving = [courier for courier in self._couriers if courier.sink in removed]
        staying = [courier for courier in self._couriers if courier.sink not in removed]
        coming = [Courier(sink) for sink in added]
        self._couriers = (*staying, *coming)
        for courier in coming:
            if courier.sink.wants_standing:
                for alert in self._standing.values():
                    courier.put(alert)
        self._sinks = tuple(courier.sink for courier in self._couriers)
        deadline = time.monotonic() + CLOSE_SECONDS
        for courier in leaving:
            courier.end(deadline)  # its thread ends by itself

    def _restart_after_fork(self) -> None:
        """In a child: its parent's threads are not there, and its locks may be held for ever."""
        for sink in self._sinks:
            sink.after_fork()
        self._begin()
        self._engine.set_silences(self._silences)
        if self._rules and not self._closed:
            self._set_rules(self._rules)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self.active())} active"
        return f"<{type(self).__name__} of {len(self._rules)} rules, {state}>"


_every: weakref.WeakSet[Alerts] = weakref.WeakSet()


def _close_all() -> None:
    deadline = time.monotonic() + CLOSE_SECONDS
    for alerts in list(_every):
        alerts.close(max(deadline - time.monotonic(), 0.1))


def _restart_all() -> None:
    for alerts in list(_every):
        try:
            alerts._restart_after_fork()  # noqa: SLF001 - of this module
        except Exception:  # the child goes on without alerts
            logger.exception("alerts could not be restarted after a fork")


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_all)
