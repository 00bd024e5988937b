"""Leases for one block, asynchronous and synchronous."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from nanospan.pool.connections import IDLE, INERROR, Pooled, SyncVectorConnection, VectorConnection
from nanospan.pool.lease_table import Holder

if TYPE_CHECKING:
    from types import TracebackType

    from nanospan._core import Span
    from nanospan.pool.pool_statistics import PoolStatistics

__all__ = ["Lease", "SyncLease"]

ONE_USE = "a lease is for one block and was used already; ask the pool for another"


class LeasingPool(Protocol):
    """The part of a pool that both kinds of lease use."""

    disowned: bool

    @property
    def statistics(self) -> PoolStatistics: ...

    def lease_failed(self, connection: Pooled, error: BaseException | None) -> None: ...


class AsyncLeasingPool(LeasingPool, Protocol):
    """The part of a pool that ``Lease`` uses."""

    async def lease(self, holder: Holder, timeout: float | None) -> VectorConnection: ...

    async def putconn(self, conn: VectorConnection) -> None: ...


class SyncLeasingPool(LeasingPool, Protocol):
    """The part of a pool that ``SyncLease`` uses."""

    def lease(self, holder: Holder, timeout: float | None) -> SyncVectorConnection: ...

    def putconn(self, conn: SyncVectorConnection) -> None: ...


P = TypeVar("P", bound=LeasingPool)
C = TypeVar("C", bound=Pooled)


class _BlockLease(Holder, Generic[P, C]):
    """A lease of either kind of pool, apart from taking and giving back the connection."""

    __slots__ = ("_connection", "_pool", "_span", "_timeout")

    _pool: P
    _connection: C
    _span: Span

    def __init__(self, timeout: float | None, label: str | None, pool: P | None) -> None:
        """Remember the pool; entering the block takes the connection.

        Args:
            timeout: Seconds to wait for a connection; by default the pool's ``timeout``.
            label: Names the lease in statistics, in errors and in the log.
            pool: The pool; without one, a subclass sets ``_pool`` when the block is entered.
        """
        super().__init__(label)
        self._timeout = timeout
        if pool is not None:
            self._pool = pool

    def _begin(self, connection: C) -> C:
        self._connection = connection
        self._span = self._pool.statistics.track_lease()
        self._span.__enter__()
        return connection

    def _needs_end(self, error: BaseException | None) -> bool:
        """Return True if the block left a transaction open; report to the pool if it failed."""
        status = self._connection.pgconn.transaction_status
        if error is not None or status == INERROR:
            self._pool.lease_failed(self._connection, error)
        return status != IDLE


class Lease(_BlockLease[AsyncLeasingPool, VectorConnection]):
    """A lease for one block, made by ``VectorPool.connection``. For one use, by one task."""

    __slots__ = ()

    async def __aenter__(self) -> VectorConnection:
        """Take a connection, see ``VectorPool.getconn``."""
        if self.since:
            raise RuntimeError(ONE_USE)
        return self._begin(await self._pool.lease(self, self._timeout))

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the transaction and give the connection back."""
        if self._pool.disowned:
            return
        try:
            if self._needs_end(exc):
                await self._connection.__aexit__(exc_type, exc, traceback)
        finally:
            self._span.__exit__(exc_type, exc, traceback)
            await self._pool.putconn(self._connection)


class SyncLease(_BlockLease[SyncLeasingPool, SyncVectorConnection]):
    """A lease for one block, made by ``SyncVectorPool.connection``. For one use, by one thread."""

    __slots__ = ()

    def __enter__(self) -> SyncVectorConnection:
        """Take a connection, see ``SyncVectorPool.getconn``."""
        if self.since:
            raise RuntimeError(ONE_USE)
        return self._begin(self._pool.lease(self, self._timeout))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the transaction and give the connection back."""
        if self._pool.disowned:
            return
        try:
            if self._needs_end(exc):
                self._connection.__exit__(exc_type, exc, traceback)
        finally:
            self._span.__exit__(exc_type, exc, traceback)
            self._pool.putconn(self._connection)
