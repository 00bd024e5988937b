"""Threads, queues and schedules for the synchronous pools, which signal handlers may use."""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from psycopg_pool import PoolTimeout
from psycopg_pool._task import Task
from psycopg_pool.sched import Scheduler

from nanospan import _core
from nanospan.reentrant import Bell, Wakeup, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PoolScheduler", "TaskQueue", "WaitingThread", "start_in_thread"]

logger = logging.getLogger("nanospan.pool")

T = TypeVar("T")


def start_in_thread(work: Callable[[], T], *, here: bool = False) -> Future[T]:
    """Call ``work`` in a daemon thread; return a future.

    Args:
        work: The function to call.
        here: Whether to call it in the current thread instead, as if no thread could be started.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001 - raised in the thread that waits
            future.set_exception(exc)
        else:
            future.set_result(result)

    if here:
        run()
        return future
    try:
        start_thread(threading.Thread(target=run, daemon=True))
    except RuntimeError:  # the interpreter is exiting, or has too many threads
        run()
    return future


class TaskQueue(Generic[T]):
    """A queue of the tasks of a pool. Unlike in ``queue.Queue``, adding a task takes no lock."""

    def __init__(self) -> None:
        self._tasks: deque[T] = deque()
        self._added = Bell()

    def put_nowait(self, task: T) -> None:
        """Add a task."""
        self._tasks.append(task)
        self._added.ring()

    def get(self) -> T:
        """Remove the oldest task and return it; wait if there is none."""
        return cast("T", self._added.wait_for(self._take))

    def _take(self) -> T | None:
        try:
            return self._tasks.popleft()
        except IndexError:
            return None


class PoolScheduler(Scheduler):
    """A ``Scheduler`` to which tasks can be added without a lock."""

    def __init__(self) -> None:
        super().__init__()
        self._planned: _core.Atomic[tuple[Task, ...]] = _core.Atomic(())
        self._wakeup = Wakeup()

    def enterabs(self, time: float, action: Callable[[], Any] | None) -> Task:
        """Plan to call ``action`` at a monotonic time; with None, ``run`` then ends."""
        task = Task(time, action)
        self._planned.update(lambda planned: tuple(sorted((*planned, task))))
        self._wakeup.set()
        return task

    def run(self) -> None:
        """Call the actions when they are due, until None is."""
        while True:
            planned = self._planned.get()
            due = planned[0].time - monotonic() if planned else self.EMPTY_QUEUE_TIMEOUT
            if due > 0:
                self._wakeup.wait(due)
            elif self._planned.replace(planned, planned[1:]):
                if planned[0].action is None:
                    return
                try:
                    planned[0].action()
                except Exception as exc:  # noqa: BLE001 - the others must be called
                    logger.warning("scheduled task %s failed: %s", planned[0].action, exc)


class WaitingThread(Generic[T]):
    """A queue entry for a lease that is waiting for a connection from a synchronous pool.

    Has the methods of psycopg_pool's ``WaitingClient``, whose condition a signal handler could
    hand a connection to without waking the thread that it has interrupted.
    """

    __slots__ = ("_outcome", "_wakeup")

    def __init__(self) -> None:
        self._outcome: _core.Atomic[tuple[T | None, BaseException | None] | None]
        self._outcome = _core.Atomic(None)
        self._wakeup = Wakeup()

    @property
    def conn(self) -> T | None:
        """The connection handed to the lease; None until then."""
        outcome = self._outcome.get()
        return None if outcome is None else outcome[0]

    def wait(self, timeout: float) -> T:
        """Return the connection passed to ``set``, or raise the error passed to ``fail``.

        Raises:
            PoolTimeout: If neither is called within ``timeout`` seconds.
        """
        if not self._wakeup.wait(timeout):
            self.fail(PoolTimeout())
        connection, error = cast("tuple[T, BaseException | None]", self._outcome.get())
        if error is not None:
            raise error
        return connection

    def set(self, connection: T) -> bool:
        """Hand ``connection`` to the waiting lease; return False if the wait has already ended."""
        return self._end(connection, None)

    def fail(self, error: BaseException) -> bool:
        """Make ``wait`` raise ``error``; return False if the wait has already ended."""
        return self._end(None, error)

    def _end(self, connection: T | None, error: BaseException | None) -> bool:
        is_first = self._outcome.replace(None, (connection, error))
        self._wakeup.set()
        return is_first
