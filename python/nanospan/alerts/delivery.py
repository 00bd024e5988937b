"""Delivers alerts. Each sink has its own queue and thread, so a slow sink does not delay others."""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanospan import _core
from nanospan.alerts.sinks.base import DeliveryError, PostponedError
from nanospan.reentrant import Bell, Wakeup, start_thread
from nanospan.values.messages import shown
from nanospan.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.sinks.base import Sink

__all__ = ["Delivery", "SinkWorker"]

logger = logging.getLogger("nanospan.alerts")

CAPACITY = 1000
"""The maximum length of a sink's queue; when the queue is full, the oldest alert is dropped."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery statistics of one sink.

    Attributes:
        sink: The sink's description, without secrets.
        queued: The number of alerts that are waiting or currently being delivered.
        delivered: The number of alerts delivered so far.
        lost: The number of alerts that will never be delivered, because the queue was full, the
            sink rejected them, every attempt failed, or closing timed out.
        last_error: The most recent error, without secrets; empty if no error has occurred.
    """

    sink: str
    queued: int
    delivered: int
    lost: int
    last_error: str


@dataclass(frozen=True, slots=True)
class _State:
    """The state of a worker. Immutable: every change replaces it."""

    queue: tuple[Alert, ...] = ()
    is_busy: bool = False
    delivered: int = 0
    lost: int = 0
    last_error: str = ""
    deadline: float | None = None  # on the monotonic clock; set by ``end``
    has_given_up: bool = False

    @property
    def left(self) -> int:
        return len(self.queue) + self.is_busy

    def is_over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


class SinkWorker:
    """Delivers alerts to one sink on a daemon thread. The first alert starts the thread.

    Every method may be called from any thread, signal handler or finaliser.

    Args:
        sink: The sink to deliver to.
        capacity: The maximum number of alerts to queue.
        current: The alerts to queue first, if the sink wants them; ``start`` begins to deliver
            them.
    """

    def __init__(self, sink: Sink, capacity: int = CAPACITY, current: Iterable[Alert] = ()) -> None:
        self.sink = sink
        self._name = str(sink)  # str() runs only here, where the caller sees exceptions
        self._capacity = capacity
        self._state: _core.Atomic[_State] = _core.Atomic(_State())
        self._wakeup = Wakeup()  # for the thread
        self._changed = Bell()  # for the callers of ``flush``
        self._started: _core.Atomic[threading.Thread | None] = _core.Atomic(None)
        self._refreshed = -math.inf  # on the monotonic clock
        for alert in current:
            self._enqueue(alert)

    @property
    def thread(self) -> threading.Thread | None:
        """The thread that delivers the alerts, or None if there was no alert yet."""
        return self._started.get()

    def put(self, alert: Alert) -> None:
        """Queue an alert if the sink wants it. Never blocks or raises."""
        self._enqueue(alert)
        self.start()

    def _change(self, change: Callable[[_State], _State]) -> _State:
        state = self._state.update(change)
        self._wakeup.set()
        self._changed.ring()
        return state

    def _enqueue(self, alert: Alert) -> None:
        try:
            if not self.sink.wants(alert):
                return
        except Exception as exc:  # noqa: BLE001 - the other sinks must get the alert
            self._settle(alert, error=type(exc).__name__, lost=True, was_busy=False)
            return
        dropped = False

        def enqueue(state: _State) -> _State:
            nonlocal dropped
            if state.deadline is not None:
                dropped = False
                return replace(state, lost=state.lost + 1)
            dropped = len(state.queue) >= self._capacity
            queue = (*state.queue[dropped:], alert)
            return replace(state, queue=queue, lost=state.lost + dropped)

        lost = self._change(enqueue).lost
        # Logged at 1, 2, 4, 8 ..., so that a flood of alerts does not flood the log.
        if dropped and lost & (lost - 1) == 0:
            logger.warning(
                "%s is too slow: its queue of %d alerts is full, %d lost so far",
                self._name,
                self._capacity,
                lost,
            )

    def start(self) -> None:
        """Start the thread if there are alerts to deliver, and it is not running."""
        state = self._state.get()
        if not state.queue or state.deadline is not None or self.thread is not None:
            return
        thread = threading.Thread(target=self._run, name=f"nanospan-{self._name}", daemon=True)
        if not self._started.replace(None, thread):
            return
        try:
            start_thread(thread)
        except RuntimeError as exc:  # no more threads, or the interpreter is ending
            error = str(exc)
            self._started.replace(thread, None)
            self._change(lambda state: replace(state, last_error=error))

    def report(self) -> Delivery:
        """Return the sink's delivery statistics."""
        state = self._state.get()
        return Delivery(self._name, state.left, state.delivered, state.lost, state.last_error)

    def flush(self, timeout: float) -> bool:
        """Wait until every queued alert has been delivered, lost, or kept by the sink for a retry.

        Return False if this takes longer than ``timeout`` seconds.
        """
        return self._changed.wait_for(lambda: not self._state.get().left, timeout)

    def end(self, deadline: float) -> None:
        """Stop accepting alerts, but deliver queued alerts until ``deadline``.

        The deadline is a time on the monotonic clock, in seconds.
        """
        self._change(lambda state: replace(state, deadline=deadline))

    def join(self) -> None:
        """Wait until the thread ends or the deadline passes; count undelivered alerts as lost."""
        thread, deadline = self.thread, self._state.get().deadline
        if deadline is not None and thread not in {None, threading.current_thread()}:
            # The caller may be a signal handler that has interrupted the start of the thread.
            with suppress(RuntimeError):
                thread.join(max(deadline - time.monotonic(), 0.0))
        left = 0

        def give_up(state: _State) -> _State:
            nonlocal left
            left = state.left
            return replace(state, has_given_up=True, lost=state.lost + left, queue=())

        self._change(give_up)
        if left:
            logger.warning(
                "%s lost %s: not delivered before the deadline", self._name, counted(left, "alert")
            )

    def abandon(self) -> None:
        """Deliver nothing, and leave the sink to another worker, in a forked child."""
        self._change(lambda state: replace(state, deadline=-math.inf, queue=()))

    def _run(self) -> None:
        while (task := self._next()) is not None:
            alert = task[0]
            try:
                if alert is None:
                    self.sink.refresh(self._pause)
                else:
                    self.sink.deliver(alert, self._pause)
            except PostponedError as exc:
                self._settle(alert, error=str(exc), lost=False)
            except DeliveryError as exc:
                self._settle(alert, error=str(exc), lost=alert is not None)
            except BaseException as exc:  # noqa: BLE001 - even SystemExit must not stop the thread
                # Store only the type, because the text of an unknown error may contain a secret.
                self._settle(alert, error=type(exc).__name__, lost=alert is not None)
                self._explain(exc)
            else:
                self._settle(alert, error="", lost=False)
        try:
            self.sink.close()
        except Exception as exc:  # noqa: BLE001 - the thread ends here anyway
            self._explain(exc)

    def _explain(self, exc: BaseException) -> None:
        try:
            self.sink.explain(exc)
        except Exception as another:  # noqa: BLE001 - the worker thread must survive
            logger.error("%s failed to log an error (%s)", self._name, type(another).__name__)  # noqa: TRY400 - the text may be secret

    def _next(self) -> tuple[Alert | None] | None:
        """Wait for a task: ``(alert,)`` to deliver, ``(None,)`` to refresh, or None to end."""
        taken: Alert | None = None

        def take(state: _State) -> _State:
            nonlocal taken
            taken = None
            if not state.queue or state.is_over():
                return state
            taken, *left = state.queue
            return replace(state, queue=tuple(left), is_busy=True)

        while True:
            state = self._state.update(take)
            if taken is not None:
                return (taken,)
            if state.deadline is not None:
                return None
            due = self._refresh_in()
            if due is not None and due <= 0:
                self._refreshed = time.monotonic()
                return (None,)
            self._wakeup.wait(due)

    def _refresh_in(self) -> float | None:
        """Return the number of seconds until the sink's next refresh; None if it needs none.

        Refreshes are at least 1 second apart.
        """
        try:
            due = self.sink.refresh_in()
        except Exception as exc:  # noqa: BLE001 - the sink still gets its alerts
            error = type(exc).__name__
            if self._state.get().last_error != error:
                self._state.update(lambda state: replace(state, last_error=error))
                self._explain(exc)
            return None
        return None if due is None else max(due, self._refreshed + 1 - time.monotonic())

    def _pause(self, seconds: float) -> bool:
        """Wait ``seconds`` before the next attempt; return False at once if that is too late."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            deadline = self._state.get().deadline
            if deadline is not None and end >= deadline:
                return False
            self._wakeup.wait(left)
        return True

    def _settle(
        self, alert: Alert | None, *, error: str, lost: bool, was_busy: bool = True
    ) -> None:
        def settle(state: _State) -> _State:
            state = replace(state, last_error=error or state.last_error)
            if alert is None:
                return state
            # If it is over, ``join`` has counted the alert as lost.
            counts = not state.has_given_up
            return replace(
                state,
                is_busy=state.is_busy and not was_busy,
                lost=state.lost + (counts and lost),
                delivered=state.delivered + (counts and not error),
            )

        self._change(settle)
        if lost and alert is not None:
            logger.warning(
                "%s lost the alert of rule %s for operation %s (%s): %s",
                self._name,
                shown(alert.rule),
                shown(alert.operation),
                alert.state,
                error,
            )
