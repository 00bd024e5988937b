"""A lock that many readers or one writer may hold."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["AsyncRWLock"]


class AsyncRWLock:
    """A lock that any number of readers or one writer may hold, for the tasks of one event loop.

    Waiting writers do not hold up new readers, so that a reader may read again.
    """

    def __init__(self) -> None:
        self._readers = 0
        self._writers = 0
        self._waiting: dict[asyncio.Future[None], None] = {}  # in order of arrival

    async def acquire_read(self) -> None:
        """Wait until there is no writer, and become a reader."""
        while self._writers:
            await self._released()
        self._readers += 1

    async def release_read(self) -> None:
        """Stop being a reader."""
        self._readers -= 1
        self._wake()

    async def acquire_write(self) -> None:
        """Wait until nothing else holds the lock, and become the writer."""
        while self._writers or self._readers:
            await self._released()
        self._writers += 1

    async def release_write(self) -> None:
        """Stop being the writer."""
        self._writers -= 1
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

    async def _released(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = None
        try:
            await waiting
        finally:
            del self._waiting[waiting]

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
