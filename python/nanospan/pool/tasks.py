"""Helpers for asyncio tasks: coalescing requests, strict time limits and cancellation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

__all__ = ["SingleFlight", "end_on_cancel", "within"]

K = TypeVar("K", bound="Hashable")
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Coalesces concurrent requests for the same key into one task.

    Each key must belong to a single event loop, so that two loops never await the same task.
    """

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    async def do(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run ``work``, or join the task already running for ``key``, and return the result.

        The task is independent of its callers: it continues if any of them is cancelled, even the
        one that started it.

        Args:
            key: Identifies the request; must include the running loop.
            work: Creates the coroutine to run; called only if no task for ``key`` is running.

        Returns:
            The coroutine's result. An exception it raises is raised in every caller.
        """
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(work())
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._remove(key, done))
        return await asyncio.shield(task)

    async def settled(self, chosen: Callable[[K], bool]) -> None:
        """Wait until the selected tasks have ended, successfully or with an error.

        Args:
            chosen: Returns True for the keys to wait for; must not select tasks of another event
                loop.
        """
        if tasks := [task for key, task in list(self._tasks.items()) if chosen(key)]:
            await asyncio.wait(tasks)

    def _remove(self, key: K, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        _retrieve_exception(task)  # all callers may have been cancelled by now


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``work``, or raise ``asyncio.TimeoutError`` after ``seconds``.

    Unlike ``asyncio.wait_for``, does not wait for the cancelled work to end. When a query is
    cancelled, psycopg waits for the server to confirm, which an unresponsive server never does.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        raise asyncio.TimeoutError
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_retrieve_exception)


async def end_on_cancel(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutine that ``work`` returns so that a single cancellation reliably ends it.

    If this is cancelled before it runs, no coroutine is left that was never awaited.

    psycopg_pool's worker mistakes a cancellation during a task for a failure of that task, and
    before Python 3.12 its scheduler may lose a cancellation in ``asyncio.wait_for``. Either would
    then keep running, and ``asyncio.run`` would wait forever if a pool was left open.
    """
    task = asyncio.ensure_future(work())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        raise


def _retrieve_exception(task: asyncio.Task[Any]) -> None:
    """Retrieve a task's exception, so that asyncio does not log it as never retrieved."""
    if not task.cancelled():
        task.exception()
