"""Running asyncio tasks: one for many callers, with a time limit, or until cancelled."""

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
    """Joins concurrent requests with an equal key into one task.

    A key must belong to one event loop, so that no two loops await the same task.
    """

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    async def do(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of ``work``, which the first caller with this key starts.

        The task does not depend on any caller: it goes on when one of them is cancelled, even the
        first.

        Args:
            key: Identifies the request, including the running loop.
            work: Makes the coroutine; called only if no task with this key is running.

        Returns:
            What the coroutine returns. What it raises is raised in every caller.
        """
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(work())
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._remove(key, done))
        return await asyncio.shield(task)

    async def settled(self, chosen: Callable[[K], bool]) -> None:
        """Wait until the chosen tasks have ended, whether they succeeded or not.

        Args:
            chosen: Selects by key; must not select tasks of another event loop.
        """
        if tasks := [task for key, task in list(self._tasks.items()) if chosen(key)]:
            await asyncio.wait(tasks)

    def _remove(self, key: K, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        _retrieve_exception(task)  # Every caller may have been cancelled meanwhile.


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``work``, or raise ``asyncio.TimeoutError`` after ``seconds``.

    ``asyncio.wait_for`` waits for the cancelled work to end, and psycopg, cancelled in a query,
    first waits for the server to confirm. A server that has gone silent never does.
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


async def end_on_cancel(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` so that one cancellation ends it.

    psycopg_pool's worker takes a cancellation during a task for a failure of that task, and its
    scheduler, before Python 3.12, may lose one to ``asyncio.wait_for``. Both then go on, and
    ``asyncio.run`` would wait for ever for a pool that was left open.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        raise


def _retrieve_exception(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from logging an exception that no caller is left to retrieve."""
    if not task.cancelled():
        task.exception()
