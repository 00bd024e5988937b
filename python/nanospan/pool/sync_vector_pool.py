"""Synchronous pools with shared pgvector types, health checks and tracked leases."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests
from psycopg_pool.pool import AddConnection, MaintenanceTask

from nanospan.pool.connections import IDLE, Hangup, SyncVectorConnection
from nanospan.pool.errors import OUTAGE
from nanospan.pool.health import ask
from nanospan.pool.lease import SyncLease
from nanospan.pool.lease_table import Holder
from nanospan.pool.opening import reach_server
from nanospan.pool.policy import Fitness
from nanospan.pool.pool_base import PolicyPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from psycopg_pool.base import AttemptWithBackoff

    from nanospan.pool.endpoint import Endpoint

__all__ = ["SyncVectorPool"]


class SyncVectorPool(PolicyPool[SyncVectorConnection], ConnectionPool[SyncVectorConnection]):
    """A ``psycopg_pool.ConnectionPool`` with pgvector types, self-healing and tracked leases.

    The synchronous counterpart of ``VectorPool``. Thread-safe.

    Args:
        endpoint: The database, its settings and its types.
        distrust: Called when a lease times out, a connection is returned broken, or the pool is
            closed.
    """

    kind = "sync"

    def __init__(self, endpoint: Endpoint, distrust: Callable[[], None]) -> None:
        """Prepare the pool; ``open`` starts it."""
        self._set_up(endpoint, distrust)
        self._grown = threading.Condition()
        super().__init__(
            connection_class=SyncVectorConnection,
            configure=self._configure_types,
            **self._arguments(),
        )
        self._guard = self._lock

    def connection(  # type: ignore[override]  # psycopg_pool's method is a generator
        self, timeout: float | None = None, label: str | None = None
    ) -> AbstractContextManager[SyncVectorConnection]:
        """Lease a connection for a block: ``with pool.connection() as connection:``."""
        return SyncLease(timeout, label, self)

    def getconn(self, timeout: float | None = None) -> SyncVectorConnection:
        """Lease a connection, which the caller must return with ``putconn``."""
        return self.lease(Holder(), timeout)

    def lease(self, holder: Holder, timeout: float | None) -> SyncVectorConnection:
        """Lease a connection for ``holder``; see ``getconn``."""
        self._check_open_getconn()
        holder.owner = threading.current_thread()
        began = now = self._request_lease(holder)
        deadline = began + (self.timeout if timeout is None else timeout)
        policy = self.policy
        while True:
            try:
                connection = self._getconn_unchecked(deadline - now)
            except (PoolTimeout, TooManyRequests) as exc:
                self._remove_failed_waiters()
                raise self._lease_error(exc, began) from None
            now = monotonic()
            fitness = policy.fitness(connection, self._types, self._doubted_at, now)
            if fitness is Fitness.FIT:
                break
            works = self._recovers(connection, fitness, policy.patience(deadline - now))
            now = monotonic()
            if works:
                break
        self._begin_lease(connection, holder, began, now)
        return connection

    def putconn(self, conn: SyncVectorConnection) -> None:
        """Return a leased connection to the pool, rolling back any open transaction."""
        if self.disowned:
            return
        self._end_lease(conn, monotonic())
        super().putconn(conn)

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until ``min_size`` connections are open; see ``VectorPool.wait``."""
        deadline = monotonic() + timeout
        with self._grown:
            while self.open_connections < self._min_size:
                self._check_open_getconn()
                self._check_fault()
                if not self._grown.wait(max(deadline - monotonic(), 0)):
                    raise self.exhausted(timeout)

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the minimum and maximum size of the open pool; see ``VectorPool.resize``."""
        self._change_sizes(min_size, max_size)

    def check_health(self, seconds: float) -> None:
        """Check that the server answers and the types are current, as ``VectorPool`` does."""
        began = monotonic()
        with self._lock:
            connection = self._pop_idle(began)
        if connection is not None:
            if self._recovers(connection, Fitness.UNSURE, seconds / 2, look_up_types=True):
                self._add_to_pool(connection)
                return
        elif len(self.leases) >= self._max_size:
            return
        reach_server(self.endpoint, began + seconds - monotonic())

    def sweep(self) -> None:
        """Log leaked leases, replace lost or expired idle connections, and open missing ones."""
        self._report_leaks()
        for connection, fitness in self._take_outdated():
            if self._recovers(connection, fitness, self.config.connection_timeout):
                self._add_to_pool(connection)
        self._top_up()

    def close(self, timeout: float = 5.0) -> None:
        """Close the pool. New and waiting leases fail; leased connections are closed when returned.

        Args:
            timeout: Seconds to wait for the pool's threads to end.
        """
        self._distrust()
        super().close(timeout)
        with self._grown:
            self._grown.notify_all()

    def _start_initial_tasks(self) -> None:
        super()._start_initial_tasks()
        self.run_task(_Sweep(self))

    def _request_connection(self) -> None:
        self.run_task(AddConnection(self))

    def _remove_failed_waiters(self) -> None:
        """Remove failed leases from the queue, because psycopg_pool would still count them."""
        with self._lock:
            waiting = [client for client in self._waiting if client.error is None]
            self._waiting.clear()
            self._waiting.extend(waiting)

    def _get_ready_connection(self, timeout: float | None) -> SyncVectorConnection | None:
        """Return the longest-idle unexpired connection, if any; replace those that have expired."""
        while True:
            connection = super()._get_ready_connection(timeout)
            if (
                connection is None
                or self.config.null_pool
                or not connection.is_expired(monotonic())
            ):
                return connection
            self._replace(connection)

    def _connect(self, timeout: float | None = None) -> SyncVectorConnection:
        with self._watch_connect():
            return super()._connect(timeout)

    def _configure_types(self, connection: SyncVectorConnection) -> None:
        with self._prepare(connection):
            if self.endpoint.types_are_stale():
                limit = self.config.connection_timeout
                ask(self.endpoint, connection, limit, look_up_types=True)

    def _add_connection(
        self,
        attempt: AttemptWithBackoff | None,
        growing: bool = False,  # noqa: ARG002 - psycopg_pool's signature
    ) -> None:
        """Open a connection, retrying until it succeeds or the connection is no longer needed."""
        try:
            connection = self._connect()
        except OUTAGE:  # recorded and logged by _watch_connect
            if (attempt := self._next_attempt(attempt)) is not None:
                self.schedule_task(AddConnection(self, attempt), attempt.delay)
        except Exception as exc:  # noqa: BLE001 - raised in the leases that wait
            self._give_up(exc)
            with self._grown:
                self._grown.notify_all()
        else:
            self._add_to_pool(connection)

    def _add_to_pool(self, conn: SyncVectorConnection) -> None:
        """Hand a working connection to the longest-waiting lease, or keep it in the pool."""
        with self._lock:
            if not self._closed and self.policy.is_surplus(self._nconns, self._max_size):
                self._replace(conn)
                return
        super()._add_to_pool(conn)
        with self._grown:
            self._grown.notify_all()

    def _reset_connection(self, conn: SyncVectorConnection) -> None:
        """Roll back with a time limit; otherwise, an unresponsive server would block the thread."""
        if conn.pgconn.transaction_status != IDLE:
            with Hangup(conn, self.config.connection_timeout):
                super()._reset_connection(conn)

    def _recovers(
        self,
        connection: SyncVectorConnection,
        fitness: Fitness,
        seconds: float,
        *,
        look_up_types: bool = False,
    ) -> bool:
        """Return True if a connection can be leased; check an UNSURE one with the server first.

        An UNFIT connection, or one that fails the check, is closed and replaced.
        """
        if fitness is Fitness.UNFIT:
            self._replace(connection)
            return False
        with self._health_check(connection, seconds):
            ask(self.endpoint, connection, seconds, look_up_types=look_up_types)
        return not connection.closed


class _Sweep(MaintenanceTask):
    """A task that calls a pool's ``sweep`` periodically, like psycopg_pool's ``ShrinkPool``."""

    def _run(self, pool: ConnectionPool[Any]) -> None:
        swept = cast("SyncVectorPool", pool)
        swept.schedule_task(self, swept.policy.sweep_interval)
        swept.sweep()
