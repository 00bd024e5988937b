"""The synchronous twin of `vector_pool`, for programs without an event loop."""

from __future__ import annotations

import inspect
import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests
from psycopg_pool.pool import AddConnection

from nanospan import get_performance_monitor
from nanospan.pool.connections import IDLE, Hangup, SyncVectorConnection
from nanospan.pool.health import ask
from nanospan.pool.lease import SyncLease
from nanospan.pool.leases import Holder
from nanospan.pool.maintenance import Sweep
from nanospan.pool.opening import reach_server
from nanospan.pool.policy import Fitness, PoolPolicy, Reconnection
from nanospan.pool.pool_base import PolicyPool, pool_arguments

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["SyncVectorPool"]

logger = logging.getLogger("nanospan.pool")


class SyncVectorPool(PolicyPool, ConnectionPool[SyncVectorConnection]):
    """`psycopg_pool.ConnectionPool` with shared types, self-healing and watched leases.

    May be used from any thread. What a method does is said of the same one of `VectorPool`.

    Args:
        policy: Target, settings and types; no other pool may have it.
    """

    kind = "sync"

    def __init__(self, policy: PoolPolicy) -> None:
        """Prepares the pool; `open` starts it."""
        self.policy = policy
        self.config = policy.config
        self._grown = threading.Condition()
        super().__init__(
            connection_class=SyncVectorConnection, **pool_arguments(policy, self._welcome)
        )

    def connection(  # type: ignore[override]  # psycopg_pool's is a generator's
        self, timeout: float | None = None, label: str | None = None
    ) -> AbstractContextManager[SyncVectorConnection]:
        """Leases a connection for a block: `with pool.connection() as connection:`."""
        return SyncLease(timeout, label, self)

    def getconn(self, timeout: float | None = None) -> SyncVectorConnection:
        """Leases a connection, to be given back with `putconn`."""
        return self.lease(Holder(), timeout)

    def lease(self, holder: Holder, timeout: float | None) -> SyncVectorConnection:
        """The same as `getconn`, with a `holder` that can be told from others."""
        self._check_open_getconn()
        holder.owner = threading.current_thread()
        if self.config.capture_stacks:
            holder.capture_stack(inspect.currentframe())
        self._stats[self._REQUESTS_NUM] += 1
        began = now = monotonic()
        deadline = began + (self.timeout if timeout is None else timeout)
        policy = self.policy
        while True:
            try:
                connection = self._getconn_unchecked(deadline - now)
            except TooManyRequests:
                raise self.exhausted(None) from None
            except PoolTimeout:
                self._forget_who_gave_up()
                policy.distrust()
                raise self.exhausted(monotonic() - began) from None
            now = monotonic()
            fitness = policy.fitness(connection, now)
            if fitness is Fitness.FIT or self._recovers(
                connection, fitness, policy.patience(deadline - now)
            ):
                break
            now = monotonic()
        now = monotonic()
        connection.enter(self)
        policy.leases.begin(connection, holder, now)
        if self._waiting:  # since it was taken, for a connection that might not have been leased
            with self._lock:
                self._maybe_grow_pool()
        policy.wait.record(now - began)
        return connection

    def putconn(self, conn: SyncVectorConnection) -> None:
        """Ends a lease. Rolls back what was left open."""
        policy = self.policy
        if policy.disowned:
            return
        self._check_pool_putconn(conn)
        now = monotonic()
        holder = policy.leases.end(conn)
        if holder is not None:
            held = now - holder.since
            policy.hold.record(held)
            self._stats[self._USAGE_MS] += int(1000 * held)
        conn.alive_at = now
        if conn.closed:
            policy.lease_broke()
        elif conn.pgconn.error_message:  # of its last statement, caught or not
            policy.lease_failed(conn, None)
        super().putconn(conn)

    def wait(self, timeout: float = 30.0) -> None:
        """Waits until `min_size` connections are open, in use or not. Never closes the pool."""
        deadline = monotonic() + timeout
        with self._grown:
            while self.open_connections < self._min_size:
                self._check_open_getconn()
                if not self._grown.wait(max(deadline - monotonic(), 0)):
                    raise self.exhausted(timeout)

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Changes the sizes of the open pool."""
        with self._lock:
            self._min_size, self._max_size = self._check_size(min_size, max_size)
            surplus = [
                self._pool.popleft()
                for _ in range(min(self._nconns - self._max_size, len(self._pool)))
            ]
            for connection in surplus:
                self._replace(connection)
            self._top_up()
            self._maybe_grow_pool()

    def check_health(self, seconds: float) -> None:
        """Asks the server whether the pool works, and whether the types changed."""
        began = monotonic()
        with self._lock:
            connection = self._pool.popleft() if self._pool else None
        if connection is not None:
            if self._recovers(connection, Fitness.UNSURE, seconds / 2, look_up_types=True):
                self._add_to_pool(connection)
                return
        elif len(self.policy.leases) >= self._max_size:
            return
        reach_server(self.policy, began + seconds - monotonic())

    def sweep(self) -> None:
        """Replaces idle connections that are lost or too old, and opens missing ones."""
        now = monotonic()
        self.policy.report_leaks()
        with self._lock:
            outdated = [each for each in self._pool if self.policy.is_outdated(each, now)]
            for connection in outdated:
                self._pool.remove(connection)
        for connection in outdated:
            fitness = self.policy.sweeping_fitness(connection, now)
            if self._recovers(connection, fitness, self.config.connection_timeout):
                self._add_to_pool(connection)
        with self._lock:
            self._top_up()

    def close(self, timeout: float = 5.0) -> None:
        """Closes the pool: nobody gets a connection any more, leased ones close on return."""
        self.policy.distrust()
        super().close(timeout)
        with self._grown:
            self._grown.notify_all()

    def _start_initial_tasks(self) -> None:
        super()._start_initial_tasks()
        self.run_task(Sweep(self))

    def _forget_who_gave_up(self) -> None:
        """Removes from the queue who waits no more; psycopg_pool goes on counting them."""
        with self._lock:
            waiting = [client for client in self._waiting if client.error is None]
            self._waiting.clear()
            self._waiting.extend(waiting)

    def _get_ready_connection(self, timeout: float | None) -> SyncVectorConnection | None:
        """The connection that was idle longest; those whose lifetime is over are replaced."""
        while True:
            connection = super()._get_ready_connection(timeout)
            if (
                connection is None
                or self.config.null_pool
                or not connection.is_expired(monotonic())
            ):
                return connection
            self._replace(connection)

    def _maybe_grow_pool(self) -> None:
        for _ in range(self._claim_growth()):
            self.run_task(AddConnection(self))

    def _top_up(self) -> None:
        for _ in range(self._claim_missing()):
            self.run_task(AddConnection(self))

    def _connect(self, timeout: float | None = None) -> SyncVectorConnection:
        began = monotonic()
        try:
            connection = super()._connect(timeout)
        except Exception as exc:
            self.policy.connect_failed(exc)
            raise
        self.policy.connect_succeeded(monotonic() - began)
        return connection

    def _welcome(self, connection: SyncVectorConnection) -> None:
        if self.policy.types.stale(self.config.type_cache_ttl):
            try:
                limit = self.config.connection_timeout
                ask(self.policy, connection, limit, look_up_types=True)
            except BaseException:
                connection.drop()
                raise
        self.policy.welcome(connection)

    def _add_connection(self, attempt: Any, growing: bool = False) -> None:  # noqa: ARG002
        """Connects, trying again until it succeeds or nobody needs the connection any more."""
        try:
            connection = self._connect()
        except Exception:  # noqa: BLE001 - remembered and logged by the policy
            with self._lock:
                needed = self._claim_retry()
            if needed:
                attempt = attempt or Reconnection()
                self.schedule_task(AddConnection(self, attempt), attempt.next_delay())
        else:
            self._add_to_pool(connection)

    def _add_to_pool(self, conn: SyncVectorConnection) -> None:
        with self._lock:
            if self._nconns > self._max_size and not self._closed:
                self._replace(conn)
                return
        super()._add_to_pool(conn)
        with self._grown:
            self._grown.notify_all()

    def _replace(self, connection: SyncVectorConnection) -> None:
        """Closes a connection, and opens another unless there are too many."""
        connection.drop()
        with self._lock:
            if self._claim_replacement():
                self.run_task(AddConnection(self))

    def _reset_connection(self, conn: SyncVectorConnection) -> None:
        """Rolls back; a server that does not answer must not hold anybody up."""
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
        """Whether a connection that was idle can be leased after the server was asked.

        If not, it is replaced.
        """
        policy = self.policy
        began = monotonic()
        try:
            if fitness is Fitness.UNSURE:
                with get_performance_monitor().track_operation("pool_health_check"):
                    ask(policy, connection, seconds, look_up_types=look_up_types)
                connection.alive_at = began
                if policy.is_current(connection):
                    return True
        except Exception as exc:  # noqa: BLE001 - whatever it is, the connection does not work
            logger.info("a connection of pool %s does not answer: %s", self.name, exc)
            self._stats[self._CONNECTIONS_LOST] += 1
            policy.doubt_idle()
            if monotonic() - began >= seconds:  # silence, of which the others have had as much
                with self._lock:
                    while self._pool:
                        self._replace(self._pool.popleft())
        except BaseException:
            self._replace(connection)
            raise
        self._replace(connection)
        return False
