"""Queue entries for leases that are waiting for a connection from an asynchronous pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from psycopg_pool import PoolTimeout

if TYPE_CHECKING:
    from nanospan.pool.connections import VectorConnection

__all__ = ["WaitingLease"]


class WaitingLease:
    """A queue entry for a lease that is waiting for a connection from an asynchronous pool.

    Uses a future, where psycopg_pool's own queue entry uses a condition and a lock.

    Attributes:
        conn: The connection handed to the lease; ``None`` until then.
        error: The error that ended the wait without a connection; ``None`` until then.
    """

    __slots__ = ("_future", "conn", "error")

    def __init__(self) -> None:
        self.conn: VectorConnection | None = None
        self.error: BaseException | None = None
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self, timeout: float) -> VectorConnection:
        """Return the connection passed to ``give``, or raise the error passed to ``fail``.

        Raises:
            PoolTimeout: If neither ``give`` nor ``fail`` is called within ``timeout`` seconds.
        """
        timer = asyncio.get_running_loop().call_later(timeout, self.fail, PoolTimeout())
        try:
            await self._future
        except asyncio.CancelledError as exc:
            self.error = exc  # makes `give` return False from now on
            raise
        finally:
            timer.cancel()
        if self.error is not None:
            raise self.error
        return cast("VectorConnection", self.conn)

    def give(self, connection: VectorConnection) -> bool:
        """Hand ``connection`` to the waiting lease; return False if the wait has already ended."""
        if self.conn is not None or self.error is not None:
            return False
        self.conn = connection
        self._wake()
        return True

    def fail(self, error: Exception) -> None:
        """Make ``wait`` raise ``error``, unless the wait has already ended."""
        if self.conn is None and self.error is None:
            self.error = error
            self._wake()

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
