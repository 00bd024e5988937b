"""A place in the queue for a connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from psycopg_pool import PoolTimeout

if TYPE_CHECKING:
    from nanospan.pool.connections import VectorConnection

__all__ = ["WaitingLease"]


class WaitingLease:
    """A place in the queue: a future instead of psycopg_pool's condition and its lock.

    Attributes:
        conn: The connection, once it was given.
        error: Why the waiter has left without a connection.
    """

    __slots__ = ("_future", "conn", "error")

    def __init__(self) -> None:
        self.conn: VectorConnection | None = None
        self.error: BaseException | None = None
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self, timeout: float) -> VectorConnection:
        """Return the connection that ``give`` passes, or raise the error that ``fail`` passes.

        Raises:
            PoolTimeout: After ``timeout`` seconds.
        """
        timer = asyncio.get_running_loop().call_later(timeout, self.fail, PoolTimeout())
        try:
            await self._future
        except asyncio.CancelledError as exc:
            self.error = exc  # so that a connection that comes from now on is rejected
            raise
        finally:
            timer.cancel()
        if self.error is not None:
            raise self.error
        return cast("VectorConnection", self.conn)

    def give(self, connection: VectorConnection) -> bool:
        """Give the waiter a connection; return False if it has left."""
        if self.conn is not None or self.error is not None:
            return False
        self.conn = connection
        self._wake()
        return True

    def fail(self, error: Exception) -> None:
        """Make the waiter raise ``error``, unless it has left."""
        if self.conn is None and self.error is None:
            self.error = error
            self._wake()

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
