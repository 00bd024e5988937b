"""One execution for all who ask for the same thing at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

__all__ = ["SingleFlight"]

K = TypeVar("K", bound="Hashable")
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Joins concurrent requests with an equal key into one task.

    A key must belong to one event loop, so that no two loops await the same task.
    """

    def __init__(self) -> None:
        """Begins with nothing under way."""
        self._tasks: dict[K, asyncio.Task[T]] = {}

    async def do(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`, started here or by whoever asked first.

        The work belongs to no caller: it goes on when any of them, also the first, is cancelled.

        Args:
            key: What is asked for, including the running loop.
            work: Makes the coroutine; called only when none with this key is under way.

        Returns:
            What the coroutine returns; what it raises is raised in every caller.
        """
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(work())
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    async def settled(self, chosen: Callable[[K], bool]) -> None:
        """Waits until the chosen ones that are under way have ended, well or not.

        Args:
            chosen: Selects by key; must not select those of another event loop.
        """
        if tasks := [task for key, task in list(self._tasks.items()) if chosen(key)]:
            await asyncio.wait(tasks)

    def _landed(self, key: K, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # Read here: every caller may have been cancelled meanwhile.
