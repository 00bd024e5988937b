"""Delivers alerts. Each sink has its own queue and thread, so a slow sink does not delay others."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanospan.alerts.sinks.base import DeliveryError, PostponedError
from nanospan.values.units import counted

if TYPE_CHECKING:
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


class SinkWorker:
    """Delivers alerts to one sink on a daemon thread. The first alert starts the thread.

    Args:
        sink: The sink to deliver to.
        capacity: The maximum number of alerts to queue.
    """

    def __init__(self, sink: Sink, capacity: int = CAPACITY) -> None:
        self.sink = sink
        self._name = str(sink)  # str() runs only here, where the caller sees exceptions
        self._capacity = capacity
        self._queue: deque[Alert] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._deadline: float | None = None  # on the monotonic clock; set by ``end``
        self._has_given_up = False
        self._busy = False
        self._refreshed = -math.inf  # on the monotonic clock
        self._delivered = 0
        self._lost = 0
        self._last_error = ""

    def put(self, alert: Alert) -> None:
        """Queue an alert if the sink wants it. Never blocks or raises."""
        try:
            if not self.sink.wants(alert):
                return
        except Exception as exc:  # noqa: BLE001 - the other sinks must get the alert
            self._settle(alert, error=type(exc).__name__, lost=True, was_busy=False)
            return
        with self._changed:
            if self._deadline is not None:
                self._lost += 1
                return
            if len(self._queue) >= self._capacity:
                self._queue.popleft()
                self._lost += 1
                # Logged at 1, 2, 4, 8 ..., so that a flood of alerts does not flood the log.
                if self._lost & (self._lost - 1) == 0:
                    logger.warning(
                        "%s is too slow: its queue of %d alerts is full, %d lost so far",
                        self._name,
                        self._capacity,
                        self._lost,
                    )
            self._queue.append(alert)
            self._changed.notify_all()
            self._start()

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"nanospan-{self._name}", daemon=True)
            try:
                thread.start()
            except RuntimeError as exc:  # no more threads, or the interpreter is ending
                self._last_error = str(exc)
            else:
                self._thread = thread

    def report(self) -> Delivery:
        """Return the sink's delivery statistics."""
        with self._changed:
            waiting = len(self._queue) + self._busy
            return Delivery(self._name, waiting, self._delivered, self._lost, self._last_error)

    def flush(self, timeout: float) -> bool:
        """Wait until every queued alert has been delivered, lost, or kept by the sink for a retry.

        Return False if this takes longer than ``timeout`` seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._busy, timeout)

    def end(self, deadline: float) -> None:
        """Stop accepting alerts, but deliver queued alerts until ``deadline``.

        The deadline is a time on the monotonic clock, in seconds.
        """
        with self._changed:
            self._deadline = deadline
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the thread ends or the deadline passes; count undelivered alerts as lost."""
        thread = self._thread
        if self._deadline is not None and thread not in {None, threading.current_thread()}:
            thread.join(max(self._deadline - time.monotonic(), 0.0))
        with self._changed:
            self._has_given_up = True
            left = len(self._queue) + self._busy
            self._lost += left
            self._queue.clear()
        if left:
            logger.warning(
                "%s lost %s: not delivered before the deadline", self._name, counted(left, "alert")
            )

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
        with self._changed:
            while True:
                if self._queue and not self._is_over():
                    self._busy = True
                    return (self._queue.popleft(),)
                if self._deadline is not None:
                    return None
                due = self._refresh_in()
                if due is not None and due <= 0:
                    self._refreshed = time.monotonic()
                    return (None,)
                self._changed.wait(due)

    def _refresh_in(self) -> float | None:
        """Return the number of seconds until the sink's next refresh; None if it needs none.

        Refreshes are at least 1 second apart.
        """
        try:
            due = self.sink.refresh_in()
        except Exception as exc:  # noqa: BLE001 - the sink still gets its alerts
            if self._last_error != (error := type(exc).__name__):
                self._last_error = error
                self._explain(exc)
            return None
        return None if due is None else max(due, self._refreshed + 1 - time.monotonic())

    def _is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _pause(self, seconds: float) -> bool:
        """Wait ``seconds`` before the next attempt; return False at once if that is too late."""
        with self._changed:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                if self._deadline is not None and end >= self._deadline:
                    return False
                self._changed.wait(left)
            return True

    def _settle(
        self, alert: Alert | None, *, error: str, lost: bool, was_busy: bool = True
    ) -> None:
        with self._changed:
            if error:
                self._last_error = error
            if alert is not None:
                self._busy = self._busy and not was_busy
                if not self._has_given_up:  # otherwise ``join`` has counted the alert as lost
                    self._lost += lost
                    self._delivered += not error
            self._changed.notify_all()
        if lost and alert is not None:
            logger.warning(
                "%s lost the alert of rule %r for operation %r (%s): %s",
                self._name,
                alert.rule,
                alert.operation,
                alert.state,
                error,
            )
