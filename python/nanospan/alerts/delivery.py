"""Delivery: a queue and a worker for each sink, so that none waits for another."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanospan.alerts.sinks.base import DeliveryError, PostponedError

if TYPE_CHECKING:
    from nanospan.alerts.alert import Alert
    from nanospan.alerts.sinks.base import Sink

__all__ = ["Courier", "Delivery"]

logger = logging.getLogger("nanospan.alerts")

CAPACITY = 1000
"""Alerts that wait for a sink at most; the oldest are lost first, the newest say how it stands."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a sink is doing.

    Attributes:
        sink: Its description, without secrets.
        queued: Alerts that wait for it.
        delivered: Alerts that it took.
        lost: Alerts that it will never get: the queue was full, it refused them or could not be
            reached in all attempts, or the time to close was over.
        last_error: What went wrong last, without secrets; empty if nothing did.
    """

    sink: str
    queued: int
    delivered: int
    lost: int
    last_error: str


class Courier:
    """Brings alerts to one sink on a daemon thread, which starts with the first alert.

    Args:
        sink: Where to.
        capacity: How many alerts may wait.
    """

    def __init__(self, sink: Sink, capacity: int = CAPACITY) -> None:
        self.sink = sink
        self._name = str(sink)  # once: a sink's own method may raise, here where it is added
        self._capacity = capacity
        self._queue: deque[Alert] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._deadline: float | None = None  # on the monotonic clock; set by `end`
        self._has_given_up = False
        self._busy = False
        self._refreshed = -math.inf  # on the monotonic clock
        self._delivered = 0
        self._lost = 0
        self._last_error = ""

    def put(self, alert: Alert) -> None:
        """Queue an alert that the sink wants. Never blocks, never raises."""
        try:
            if not self.sink.wants(alert):
                return
        except Exception as exc:  # noqa: BLE001 - it must not keep the alert from the others
            self._settle(alert, error=type(exc).__name__, lost=True, was_busy=False)
            return
        with self._changed:
            if self._deadline is not None:
                self._lost += 1
                return
            if len(self._queue) >= self._capacity:
                self._queue.popleft()
                self._lost += 1
                if self._lost & (self._lost - 1) == 0:  # at 1, 2, 4, 8 ...: a flood must not flood
                    logger.warning(
                        "%s is too slow: %d alerts waited, %d are lost so far",
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
        """How the sink is doing."""
        with self._changed:
            waiting = len(self._queue) + self._busy
            return Delivery(self._name, waiting, self._delivered, self._lost, self._last_error)

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is queued or under way; false if that took longer than `timeout`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._busy, timeout)

    def end(self, deadline: float) -> None:
        """Take no more alerts, and deliver what waits until a time on the monotonic clock."""
        with self._changed:
            self._deadline = deadline
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the end that `end` set; what is not delivered then is lost."""
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
                "%s did not take %d alerts before the end; they are lost", self._name, left
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
            except BaseException as exc:  # noqa: BLE001 - SystemExit included: the next may go well
                # Only the kind: the text of a foreign error may hold what it was sent.
                self._settle(alert, error=type(exc).__name__, lost=alert is not None)
                self._explain(exc)
            else:
                self._settle(alert, error="", lost=False)
        try:
            self.sink.close()
        except Exception as exc:  # noqa: BLE001 - it ends all the same
            self._explain(exc)

    def _explain(self, exc: BaseException) -> None:
        try:
            self.sink.explain(exc)
        except Exception as another:  # noqa: BLE001 - this thread goes on
            logger.error("%s failed (%s)", self._name, type(another).__name__)  # noqa: TRY400 - texts may be secret

    def _next(self) -> tuple[Alert | None] | None:
        """An alert, nothing where it is time for a refresh, or `None` at the end."""
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
        """Seconds until a refresh; a second after the last at least, whatever the sink says."""
        try:
            due = self.sink.refresh_in()
        except Exception as exc:  # noqa: BLE001 - it still gets its alerts
            if self._last_error != (error := type(exc).__name__):
                self._last_error = error
                self._explain(exc)
            return None
        return None if due is None else max(due, self._refreshed + 1 - time.monotonic())

    def _is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _pause(self, seconds: float) -> bool:
        """Wait between two attempts; false, and at once, where there is no time for another."""
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
                if not self._has_given_up:  # else it is counted as lost
                    self._lost += lost
                    self._delivered += not error
            self._changed.notify_all()
        if lost and alert is not None:
            logger.warning(
                "%s did not get alert %r of %r (%s): %s",
                self._name,
                alert.rule,
                alert.operation,
                alert.state,
                error,
            )
