"""Pools that keep no idle connections, because a pooler such as PgBouncer keeps them."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from time import monotonic
from typing import Any

import psycopg
from psycopg_pool import AsyncNullConnectionPool, NullConnectionPool, PoolTimeout
from psycopg_pool.abc import ACT, CT

from nanospan.pool.errors import OUTAGE
from nanospan.pool.opening import open_error
from nanospan.pool.policy import Reconnection
from nanospan.pool.sync_vector_pool import SyncVectorPool
from nanospan.pool.tasks import within
from nanospan.pool.threads import start_in_thread
from nanospan.pool.vector_pool import VectorPool

__all__ = ["SyncVectorNullPool", "VectorNullPool"]


class VectorNullPool(VectorPool[ACT], AsyncNullConnectionPool[ACT]):
    """A ``VectorPool`` that opens a new connection for each lease.

    The pgvector types are cached for each database, so opening a connection includes looking them
    up only if the cached types are stale.
    """

    null_pool = True

    async def wait(self, timeout: float = 30.0) -> None:
        """Open a connection and close it again, to test that the server can be reached.

        The connection is opened even if ``max_size`` connections are leased. Failed attempts are
        repeated. Unlike in psycopg_pool, the pool stays open if the wait times out.

        Args:
            timeout: Maximum seconds to wait.

        Raises:
            PoolExhausted: If no attempt succeeds in time.
            PoolClosed: If the pool is closed.
        """
        deadline = monotonic() + timeout
        attempt = Reconnection()
        while True:
            self._check_open_getconn()
            self._check_loop()
            try:
                remaining = deadline - monotonic()
                connection = await within(remaining, self._connect(remaining))
            except OUTAGE:
                attempt.update_delay(monotonic())
                if (remaining := deadline - monotonic()) <= 0:
                    raise self.exhausted(timeout) from None
                await asyncio.sleep(min(attempt.delay, remaining))
            else:
                connection.drop()
                return

    async def check(self) -> None:
        """Do nothing: there are no idle connections."""
        self._check_loop()

    async def _getconn_unchecked(self, timeout: float) -> Any:
        """Open a connection, or wait for one if ``max_size`` connections are already open.

        Unlike in psycopg_pool, several leases can open connections concurrently.
        """
        self._check_open_getconn()
        if self._nconns >= self._limit or timeout <= 0:
            return await super()._getconn_unchecked(timeout)
        self._nconns += 1
        try:
            return await within(timeout, self._connect(timeout))
        except BaseException as exc:
            self._request_replacement()  # other leases may be waiting for it by now
            if isinstance(exc, (asyncio.TimeoutError, psycopg.errors.ConnectionTimeout)):
                self._stats[self._REQUESTS_ERRORS] += 1
                raise PoolTimeout from None
            raise

    async def _connect(self, timeout: float | None = None) -> Any:
        try:
            return await super()._connect(timeout)
        except (psycopg.Error, OSError) as exc:
            if isinstance(exc, psycopg.errors.ConnectionTimeout):
                raise
            error = open_error(self.endpoint, exc)
        raise error  # outside the handler, so it carries no reference to the connection's password

    def _maybe_grow_pool(self) -> None:
        """Do nothing: connections are opened when a lease begins, never in advance."""

    def _clean_up(self, connection: Any) -> None:
        if self._waiting:
            super()._clean_up(connection)
        else:
            self._count_if_broken(connection)
            self._keep(connection)

    def _keep(self, connection: Any) -> None:
        connection.drop()
        self._nconns -= 1


class _MayConnect(Exception):  # noqa: N818 - not an error
    """Raised to make ``_getconn_unchecked`` open a connection that the pool already counts."""


class SyncVectorNullPool(SyncVectorPool[CT], NullConnectionPool[CT]):
    """A ``SyncVectorPool`` that opens a new connection for each lease."""

    null_pool = True

    def wait(self, timeout: float = 30.0) -> None:
        """Open a connection and close it again; see ``VectorNullPool.wait``."""
        self._check_open_getconn()
        end = monotonic() + timeout
        # In a thread, because a function that returns the connection string may take long.
        tried = start_in_thread(partial(self._try, end), here=self.is_locked_here())
        try:
            tried.result(timeout)
        except FutureTimeoutError:
            raise self.exhausted(timeout) from None

    def _try(self, end: float) -> None:
        """Connect, repeatedly if it fails, until it has worked once or the time has passed."""
        attempt = Reconnection()
        while True:
            self._check_open_getconn()
            try:
                self._connect(end - monotonic()).drop()
            except OUTAGE:
                attempt.update_delay(monotonic())
                time.sleep(attempt.delay)
                if monotonic() >= end:  # the caller has stopped waiting
                    raise
            else:
                return

    def check(self) -> None:
        """Do nothing: there are no idle connections."""

    def _getconn_unchecked(self, timeout: float) -> Any:
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

    def _get_ready_connection(self, timeout: float | None) -> Any:
        self._check_open_getconn()
        if self._nconns >= self._limit or (timeout is not None and timeout <= 0):
            return super()._get_ready_connection(timeout)
        self._nconns += 1
        raise _MayConnect

    def _connect(self, timeout: float | None = None) -> Any:
        try:
            return super()._connect(timeout)
        except psycopg.errors.ConnectionTimeout:
            raise
        except (psycopg.Error, OSError) as exc:
            error = open_error(self.endpoint, exc)
        raise error  # outside the handler, so it carries no reference to the connection's password

    def _maybe_grow_pool(self) -> None:
        """Do nothing: connections are opened when a lease begins, never in advance."""

    def _clean_up(self, connection: Any) -> None:
        with self._lock:
            if not self._waiting:  # leases that begin now connect
                self._count_if_broken(connection)
                connection.drop()
                self._nconns -= 1
                return
        super()._clean_up(connection)

    def _add_to_pool(self, conn: Any) -> None:
        if not self._closes_surplus(conn):
            NullConnectionPool._add_to_pool(self, conn)  # noqa: SLF001 - keeps no connection idle
