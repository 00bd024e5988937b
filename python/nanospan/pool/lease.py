"""Leases for one block, asynchronous and synchronous."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanospan.pool.connections import IDLE, INERROR
from nanospan.pool.leases import Holder

if TYPE_CHECKING:
    from types import TracebackType

    from nanospan import Span
    from nanospan.pool.connections import SyncVectorConnection, VectorConnection
    from nanospan.pool.sync_vector_pool import SyncVectorPool
    from nanospan.pool.vector_pool import VectorPool

__all__ = ["Lease", "SyncLease"]


ONE_USE = "a lease is for one block, and this one had its; ask the pool for another"


class Lease(Holder):
    """A lease for one block, made by `VectorPool.connection`. For one use, by one task."""

    __slots__ = ("_connection", "_pool", "_span", "_timeout")

    _pool: VectorPool
    _connection: VectorConnection
    _span: Span

    def __init__(self, timeout: float | None, label: str | None, pool: VectorPool | None) -> None:
        """Prepares it; entering the block takes the connection."""
        super().__init__(label)
        self._timeout = timeout
        if pool is not None:
            self._pool = pool

    async def __aenter__(self) -> VectorConnection:
        """Takes a connection, see `VectorPool.getconn`."""
        if self.since:
            raise RuntimeError(ONE_USE)
        pool = self._pool
        self._connection = connection = await pool.lease(self, self._timeout)
        self._span = pool.policy.track_lease()
        self._span.__enter__()
        return connection

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the transaction and gives the connection back."""
        connection, pool = self._connection, self._pool
        if pool.policy.disowned:
            return
        status = connection.pgconn.transaction_status
        try:
            if exc is not None or status == INERROR:
                pool.policy.lease_failed(connection, exc)
            if status != IDLE:
                await connection.__aexit__(exc_type, exc, traceback)
        finally:
            self._span.__exit__(exc_type, exc, traceback)
            await pool.putconn(connection)


class SyncLease(Holder):
    """A lease for one block, made by `SyncVectorPool.connection`. For one use, by one thread."""

    __slots__ = ("_connection", "_pool", "_span", "_timeout")

    _pool: SyncVectorPool
    _connection: SyncVectorConnection
    _span: Span

    def __init__(
        self, timeout: float | None, label: str | None, pool: SyncVectorPool | None
    ) -> None:
        """Prepares it; entering the block takes the connection."""
        super().__init__(label)
        self._timeout = timeout
        if pool is not None:
            self._pool = pool

    def __enter__(self) -> SyncVectorConnection:
        """Takes a connection, see `SyncVectorPool.getconn`."""
        if self.since:
            raise RuntimeError(ONE_USE)
        pool = self._pool
        self._connection = connection = pool.lease(self, self._timeout)
        self._span = pool.policy.track_lease()
        self._span.__enter__()
        return connection

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the transaction and gives the connection back."""
        connection, pool = self._connection, self._pool
        if pool.policy.disowned:
            return
        status = connection.pgconn.transaction_status
        try:
            if exc is not None or status == INERROR:
                pool.policy.lease_failed(connection, exc)
            if status != IDLE:
                connection.__exit__(exc_type, exc, traceback)
        finally:
            self._span.__exit__(exc_type, exc, traceback)
            pool.putconn(connection)
