"""Pools that keep no idle connections, for servers behind a pooler such as PgBouncer."""

from __future__ import annotations

import asyncio

import psycopg
from psycopg_pool import AsyncNullConnectionPool, NullConnectionPool, PoolTimeout

from nanospan.pool.connections import SyncVectorConnection, VectorConnection
from nanospan.pool.opening import open_error
from nanospan.pool.sync_vector_pool import SyncVectorPool
from nanospan.pool.tasks import within
from nanospan.pool.vector_pool import VectorPool

__all__ = ["SyncVectorNullPool", "VectorNullPool"]


class VectorNullPool(VectorPool, AsyncNullConnectionPool[VectorConnection]):
    """A ``VectorPool`` that opens a new connection for each lease.

    The pgvector types are cached for each database, so opening a connection includes looking them
    up only if the cached types are stale.
    """

    async def _getconn_unchecked(self, timeout: float) -> VectorConnection:
        """Open a connection, or wait for one if ``max_size`` connections are already open.

        Unlike in psycopg_pool, several leases can open connections concurrently.
        """
        if self._nconns >= self._max_size or timeout <= 0:
            return await super()._getconn_unchecked(timeout)
        self._nconns += 1
        try:
            return await within(timeout, self._connect())
        except BaseException as exc:
            self._request_replacement()  # other leases may be waiting for it by now
            if isinstance(exc, (asyncio.TimeoutError, psycopg.errors.ConnectionTimeout)):
                self._stats[self._REQUESTS_ERRORS] += 1
                raise PoolTimeout from None
            raise

    async def _connect(self, timeout: float | None = None) -> VectorConnection:
        try:
            return await super()._connect(timeout)
        except (psycopg.Error, OSError) as exc:
            if isinstance(exc, psycopg.errors.ConnectionTimeout):
                raise
            error = open_error(self.endpoint, exc)
        raise error  # outside the handler, so it carries no reference to the connection's password

    def _maybe_grow_pool(self) -> None:
        """Do nothing: connections are opened when a lease begins, never in advance."""

    def _keep(self, connection: VectorConnection) -> None:
        connection.drop()
        self._nconns -= 1


class _MayConnect(Exception):  # noqa: N818 - not an error
    """Raised to make ``_getconn_unchecked`` open a connection that the pool already counts."""


class SyncVectorNullPool(SyncVectorPool, NullConnectionPool[SyncVectorConnection]):
    """A ``SyncVectorPool`` that opens a new connection for each lease."""

    def _getconn_unchecked(self, timeout: float) -> SyncVectorConnection:
        """Open a connection, or wait for one if ``max_size`` connections are already open.

        Unlike in psycopg_pool, the pool's lock is not held while connecting.
        """
        try:
            return super()._getconn_unchecked(timeout)
        except _MayConnect:
            pass
        try:
            return self._connect(timeout)
        except BaseException as exc:
            self._request_replacement()  # other leases may be waiting for it by now
            if isinstance(exc, psycopg.errors.ConnectionTimeout):
                self._stats[self._REQUESTS_ERRORS] += 1
                raise PoolTimeout from None
            raise

    def _get_ready_connection(self, timeout: float | None) -> SyncVectorConnection | None:
        if self._nconns >= self._max_size or (timeout is not None and timeout <= 0):
            return super()._get_ready_connection(timeout)
        self._nconns += 1
        raise _MayConnect

    def _connect(self, timeout: float | None = None) -> SyncVectorConnection:
        try:
            return super()._connect(timeout)
        except psycopg.errors.ConnectionTimeout:
            raise
        except (psycopg.Error, OSError) as exc:
            error = open_error(self.endpoint, exc)
        raise error  # outside the handler, so it carries no reference to the connection's password

    def _maybe_grow_pool(self) -> None:
        """Do nothing: connections are opened when a lease begins, never in advance."""

    def _add_to_pool(self, conn: SyncVectorConnection) -> None:
        NullConnectionPool._add_to_pool(self, conn)  # noqa: SLF001 - keeps no connection idle
