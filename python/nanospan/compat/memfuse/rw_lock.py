"""A lock that many readers or one writer may hold."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from nanospan.pool.loops import wrong_loop_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["AsyncRWLock"]


class AsyncRWLock:
    """A lock that any number of readers or one writer may hold, for the tasks of one event loop.

    Waiting writers do not hold up new readers, so that a reader may read again. While a task holds
    the lock, another event loop gets a RuntimeError. Holders in a loop that has been closed cannot
    release it any more, so they no longer count.
    """

    def __init__(self) -> None:
        self._readers = 0
        self._writers = 0
        self._waiting: dict[asyncio.Future[None], None] = {}  # in order of arrival
        self._loop: asyncio.AbstractEventLoop | None = None  # of those that hold it or wait

    async def acquire_read(self) -> None:
        """Wait until there is no writer, and become a reader."""
        self._enter()
        while self._writers:
            await self._released()
        self._readers += 1

    async def release_read(self) -> None:
        """Stop being a reader."""
        self._check_loop()
        self._readers = max(self._readers - 1, 0)
        self._wake()

    async def acquire_write(self) -> None:
        """Wait until nothing else holds the lock, and become the writer."""
        self._enter()
        while self._writers or self._readers:
            await self._released()
        self._writers += 1

    async def release_write(self) -> None:
        """Stop being the writer."""
        self._check_loop()
        self._writers = max(self._writers - 1, 0)
        self._wake()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncRWLock]:
        """Hold the lock as a reader for the block."""
        await self.acquire_read()
        try:
            yield self
        finally:
            await self.release_read()

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[AsyncRWLock]:
        """Hold the lock as the writer for the block."""
        await self.acquire_write()
        try:
            yield self
        finally:
            await self.release_write()

    def _check_loop(self) -> None:
        home = self._loop
        if home is not None and home is not asyncio.get_running_loop() and not home.is_closed():
            raise wrong_loop_error("this lock", home, "make a lock for each event loop")

    def _enter(self) -> None:
        """Make the lock one of the running event loop, unless it is in use in another."""
        if self._loop is not (running := asyncio.get_running_loop()):
            if self._readers or self._writers or self._waiting:
                self._check_loop()
                self._readers = self._writers = 0
                self._waiting.clear()
            self._loop = running

    async def _released(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = None
        try:
            await waiting
        finally:
            self._waiting.pop(waiting, None)

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
