"""A place in the queue for a connection."""

from __future__ import annotations

import asyncio
from typing import cast

from psycopg_pool import PoolTimeout
from psycopg_pool.pool_async import WaitingClient

from nanospan.pool.connections import VectorConnection

__all__ = ["WaitingLease"]


class WaitingLease(WaitingClient[VectorConnection]):
    """A place in the queue: a future instead of psycopg_pool's condition and its lock."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self.conn = None
        self.error = None
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self, timeout: float) -> VectorConnection:
        """The connection, or `PoolTimeout` after `timeout` seconds, or the error of `fail`."""
        timer = asyncio.get_running_loop().call_later(timeout, self._end, PoolTimeout())
        try:
            await self._future
        except asyncio.CancelledError as exc:
            self.error = exc  # refuses what comes from now on
            raise
        finally:
            timer.cancel()
        if self.error is not None:
            raise self.error
        return cast("VectorConnection", self.conn)

    async def set(self, conn: VectorConnection) -> bool:
        """Gives the connection, unless nobody waits here any more; says which."""
        if self.conn is not None or self.error is not None:
            return False
        self.conn = conn
        self._wake()
        return True

    async def fail(self, error: Exception) -> bool:
        """Gives an error instead, under the same condition."""
        return self._end(error)

    def _end(self, error: Exception) -> bool:
        if self.conn is not None or self.error is not None:
            return False
        self.error = error
        self._wake()
        return True

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
