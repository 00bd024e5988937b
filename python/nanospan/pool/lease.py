"""Asynchronous and synchronous context managers that lease a connection for one block."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from nanospan.pool.connections import IDLE, INERROR, Pooled, SyncVectorConnection, VectorConnection
from nanospan.pool.lease_table import Holder, LeaseTable

if TYPE_CHECKING:
    from types import TracebackType

    from nanospan._core import Span
    from nanospan.pool.pool_statistics import PoolStatistics

__all__ = ["GetconnLease", "Lease", "SyncGetconnLease", "SyncLease"]

ONE_USE = "a lease can be used for one block only, and this one was used; request a new one"


class LeasingPool(Protocol):
    """The part of a pool's interface that both ``Lease`` and ``SyncLease`` use."""

    disowned: bool
    leases: LeaseTable

    @property
    def statistics(self) -> PoolStatistics: ...

    def lease_failed(self, connection: Pooled, error: BaseException | None) -> None: ...


class AsyncLeasingPool(LeasingPool, Protocol):
    """The part of an asynchronous pool's interface that ``Lease`` uses."""

    async def lease(self, holder: Holder, timeout: float | None) -> Any: ...

    async def getconn(self, timeout: float | None) -> Any: ...

    async def putconn(self, conn: Any) -> None: ...


class SyncLeasingPool(LeasingPool, Protocol):
    """The part of a synchronous pool's interface that ``SyncLease`` uses."""

    def lease(self, holder: Holder, timeout: float | None) -> Any: ...

    def getconn(self, timeout: float | None) -> Any: ...

    def putconn(self, conn: Any) -> None: ...


P = TypeVar("P", bound=LeasingPool)
C = TypeVar("C", bound=Pooled)


class _BlockLease(Holder, Generic[P, C]):
    """Base class of ``Lease`` and ``SyncLease``, which take and return the connection."""

    __slots__ = ("_connection", "_pool", "_span", "_timeout")

    _pool: P
    _connection: C
    _span: Span

    def __init__(self, timeout: float | None, label: str | None, pool: P | None) -> None:
        """Prepare the lease; entering the block takes the connection.

        Args:
            timeout: Seconds to wait for a connection; ``None`` for the pool's ``timeout``.
            label: Name of the lease in statistics, errors and the log.
            pool: The pool to lease from; if ``None``, a subclass must set ``_pool`` when the
                block is entered.
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

    def _begin_got(self, connection: C) -> C:
        """Begin with a connection that ``getconn`` returned, whose lease is in the table."""
        self.since = monotonic()
        self._pool.leases.set_label(connection, self.label)
        return self._begin(connection)

    def _needs_end(self, error: BaseException | None) -> bool:
        """Tell the pool if the block failed; return True if a transaction is still open."""
        status = self._connection.pgconn.transaction_status
        if error is not None or status == INERROR:
            self._pool.lease_failed(self._connection, error)
        return status != IDLE


class Lease(_BlockLease[AsyncLeasingPool, VectorConnection]):
    """Leases a connection for one ``async with`` block; returned by ``VectorPool.connection``.

    It can be used only once.
    """

    __slots__ = ()

    async def __aenter__(self) -> VectorConnection:
        """Take a connection from the pool; see ``VectorPool.getconn``."""
        if self.since:
            raise RuntimeError(ONE_USE)
        return self._begin(await self._pool.lease(self, self._timeout))

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End any open transaction and return the connection to the pool."""
        if self._pool.disowned:
            return
        try:
            if self._needs_end(exc):
                await self._connection.__aexit__(exc_type, exc, traceback)
        finally:
            self._span.__exit__(exc_type, exc, traceback)
            await self._pool.putconn(self._connection)


class GetconnLease(Lease):
    """A lease from a pool whose class overrides ``getconn``, which must not be passed over."""

    __slots__ = ()

    async def __aenter__(self) -> VectorConnection:
        """Take a connection with the pool's ``getconn``."""
        if self.since:
            raise RuntimeError(ONE_USE)
        return self._begin_got(await self._pool.getconn(self._timeout))


class SyncLease(_BlockLease[SyncLeasingPool, SyncVectorConnection]):
    """Leases a connection for one ``with`` block; returned by ``SyncVectorPool.connection``.

    It can be used only once.
    """

    __slots__ = ()

    def __enter__(self) -> SyncVectorConnection:
        """Take a connection from the pool; see ``SyncVectorPool.getconn``."""
        if self.since:
            raise RuntimeError(ONE_USE)
        return self._begin(self._pool.lease(self, self._timeout))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End any open transaction and return the connection to the pool."""
        if self._pool.disowned:
            return
        try:
            if self._needs_end(exc):
                self._connection.__exit__(exc_type, exc, traceback)
        finally:
            self._span.__exit__(exc_type, exc, traceback)
            self._pool.putconn(self._connection)


class SyncGetconnLease(SyncLease):
    """A lease from a synchronous pool whose class overrides ``getconn``."""

    __slots__ = ()

    def __enter__(self) -> SyncVectorConnection:
        """Take a connection with the pool's ``getconn``."""
        if self.since:
            raise RuntimeError(ONE_USE)
        return self._begin_got(self._pool.getconn(self._timeout))
