"""Asynchronous pools whose connections know the current types, and whose leases are watched."""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from psycopg_pool import (
    AsyncConnectionPool,
    PoolClosed,
    PoolTimeout,
    TooManyRequests,
)
from psycopg_pool.pool_async import AddConnection, ReturnConnection

from nanospan import get_performance_monitor
from nanospan.pool.connections import IDLE, VectorConnection, hang_up
from nanospan.pool.health import ask_async
from nanospan.pool.lease import Lease
from nanospan.pool.leases import Holder
from nanospan.pool.maintenance import AsyncSweep, until_cancelled
from nanospan.pool.opening import reach_server_async
from nanospan.pool.policy import Fitness, PoolPolicy, Reconnection
from nanospan.pool.pool_base import PolicyPool, pool_arguments
from nanospan.pool.queueing import WaitingLease

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = ["VectorPool"]

logger = logging.getLogger("nanospan.pool")

WORKERS = 8
"""Tasks that connect; a burst of requests waits for as many connections at once."""
CLOSE_GRACE = 5.0
"""Seconds that a closing pool gives its cancelled tasks."""


class VectorPool(PolicyPool, AsyncConnectionPool[VectorConnection]):
    """`psycopg_pool.AsyncConnectionPool` with shared types, self-healing and watched leases.

    Belongs to the event loop it is opened in; its statistics may be read from any thread. What
    `psycopg_pool` does under a lock is done here between two awaits, which on one loop is as safe
    and cannot be interrupted by a cancellation.

    Args:
        policy: Target, settings and types; no other pool may have it.
    """

    kind = "async"

    def __init__(self, policy: PoolPolicy) -> None:
        """Prepares the pool; `open` starts it."""
        self.policy = policy
        self.config = policy.config
        self._grown = asyncio.Event()
        super().__init__(
            connection_class=VectorConnection,
            num_workers=WORKERS,
            **pool_arguments(policy, self._welcome),
        )

    def connection(  # type: ignore[override]  # psycopg_pool's is a generator's
        self, timeout: float | None = None, label: str | None = None
    ) -> AbstractAsyncContextManager[VectorConnection]:
        """Leases a connection for a block: `async with pool.connection() as connection:`.

        The block's transaction is committed at its end, or rolled back if an exception leaves it.

        Args:
            timeout: Seconds to wait for a connection; by default the pool's `timeout`.
            label: Names the lease in statistics, in errors and in the log.

        Returns:
            A context manager for one use. Entering it raises what `getconn` does.
        """
        return Lease(timeout, label, self)

    async def getconn(self, timeout: float | None = None) -> VectorConnection:
        """Leases a connection, to be given back with `putconn`.

        Args:
            timeout: Seconds to wait; by default the pool's `timeout`.

        Returns:
            A connection that works, as far as its socket tells; one that was idle for longer than
            `health_check_interval` has just been asked.

        Raises:
            PoolExhausted: If none could be had in time, or `max_waiting` leases wait already.
            PoolClosed: If the pool is closed.
        """
        return await self.lease(Holder(), timeout)

    async def lease(self, holder: Holder, timeout: float | None) -> VectorConnection:
        """The same as `getconn`, with a `holder` that can be told from others."""
        if self._closed:
            self._check_open_getconn()
        if holder.owner is None:
            holder.owner = asyncio.current_task()
        if self.config.capture_stacks:
            holder.capture_stack(inspect.currentframe())
        self._stats[self._REQUESTS_NUM] += 1
        began = now = monotonic()
        deadline = began + (self.timeout if timeout is None else timeout)
        policy = self.policy
        while True:
            connection = self._pop_idle(now)
            if connection is None:
                try:
                    connection = await self._getconn_unchecked(deadline - now)
                except TooManyRequests:
                    raise self.exhausted(None) from None
                except PoolTimeout:
                    policy.distrust()
                    raise self.exhausted(monotonic() - began) from None
                now = monotonic()
            fitness = policy.fitness(connection, now)
            if fitness is Fitness.FIT:
                break
            if await self._recovers(connection, fitness, policy.patience(deadline - now)):
                now = monotonic()
                break
            now = monotonic()
        self._begin(connection, holder, now)
        policy.wait.record(now - began)
        return connection

    async def putconn(self, conn: VectorConnection) -> None:
        """Ends a lease, see `AsyncConnectionPool.putconn`. Is not held up by anything."""
        policy = self.policy
        if policy.disowned:
            return
        if getattr(conn, "_pool", None) is not self:
            self._check_pool_putconn(conn)
        now = monotonic()
        holder = policy.leases.end(conn)
        if holder is not None:
            held = now - holder.since
            policy.hold.record(held)
            self._stats[self._USAGE_MS] += int(1000 * held)
        conn.alive_at = now
        if conn.pgconn.error_message:  # of its last statement, caught or not
            policy.lease_failed(conn, None)
        if self._closed:
            conn.drop()
        elif conn.pgconn.transaction_status == IDLE:
            if conn.is_expired(now, self._drained_at):
                self._replace(conn)
            else:
                await self._add_to_pool(conn)
        else:
            if conn.closed:
                policy.lease_broke()
            # A rollback is waited for by a worker: it may take long, and this may be cancelled.
            self.run_task(ReturnConnection(self, conn, from_getconn=False))

    async def wait(self, timeout: float = 30.0) -> None:
        """Waits until `min_size` connections are open, in use or not. Never closes the pool.

        Raises:
            PoolExhausted: If they are not in time.
            PoolClosed: If the pool is closed.
        """
        began = monotonic()
        while self.open_connections < self._min_size:
            self._check_open_getconn()
            self._grown.clear()
            remaining = began + timeout - monotonic()
            try:
                await asyncio.wait_for(self._grown.wait(), remaining)
            except asyncio.TimeoutError:
                raise self.exhausted(timeout) from None

    async def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Changes the sizes of the open pool.

        Missing connections are opened in the background. Idle ones over `max_size` are closed at
        once, leased ones when they come back.

        Args:
            min_size: Connections kept open.
            max_size: Connections open at most; by default `min_size`.

        Raises:
            ValueError: If these make no pool.
        """
        self._min_size, self._max_size = self._check_size(min_size, max_size)
        while self._nconns > self._max_size and self._pool:
            self._replace(self._pool.popleft())
        self._top_up()
        self._maybe_grow_pool()

    async def check_health(self, seconds: float) -> None:
        """Asks the server whether the pool works, and whether the types changed.

        Asks on an idle connection; where that fails, or there is none, a new one decides. A pool
        whose connections are all leased is not asked: its users notice a failure themselves.

        Raises:
            PoolOpenError: If the server does not answer within `seconds`, or refuses.
        """
        began = monotonic()
        connection = self._pop_idle(began)
        if connection is not None:
            if await self._recovers(connection, Fitness.UNSURE, seconds / 2, look_up_types=True):
                await self._add_to_pool(connection)
                return
        elif len(self.policy.leases) >= self._max_size:
            return
        remaining = began + seconds - monotonic()
        await reach_server_async(self.policy, remaining)

    async def sweep(self) -> None:
        """Replaces idle connections that are lost or too old, and opens missing ones."""
        now = monotonic()
        self.policy.report_leaks()
        outdated = [each for each in self._pool if self.policy.is_outdated(each, now)]
        for connection in outdated:
            self._pool.remove(connection)
        for connection in outdated:
            fitness = self.policy.sweeping_fitness(connection, now)
            if await self._recovers(connection, fitness, self.config.connection_timeout):
                await self._add_to_pool(connection)
        self._top_up()

    async def close(self, timeout: float = CLOSE_GRACE) -> None:
        """Closes the pool: nobody gets a connection any more, leased ones close on return."""
        if self._closed:
            return
        self._closed = True
        self.policy.distrust()
        waiting, idle = list(self._waiting), list(self._pool)
        self._waiting.clear()
        self._pool.clear()
        self._grown.set()
        for client in waiting:
            await client.fail(PoolClosed(f"the pool {self.name!r} is closed"))
        for connection in idle:
            connection.drop()
        while not self._tasks.empty():
            if isinstance(task := self._tasks.get_nowait(), ReturnConnection):
                cast("VectorConnection", task.conn).drop()
        tasks = {task for task in (*self._workers, self._sched_runner) if task is not None}
        self._workers, self._sched_runner = [], None
        for runner in tasks:
            runner.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)

    def abandon(self) -> None:
        """Closes idle connections of a pool whose event loop is gone, without awaiting anything."""
        self._closed = True
        while self._pool:
            self._pool.popleft().drop()
        self.policy.leases.clear()

    @classmethod
    async def worker(cls, q: asyncio.Queue[Any]) -> None:
        """Runs the pool's maintenance, and ends when it is cancelled."""
        await until_cancelled(super().worker(q))  # type: ignore[arg-type]

    def _start_workers(self) -> None:
        run = self._sched.run
        self._sched.run = lambda: until_cancelled(run())  # type: ignore[method-assign]
        super()._start_workers()

    def _start_initial_tasks(self) -> None:
        super()._start_initial_tasks()
        self.run_task(AsyncSweep(self))

    def _begin(self, connection: VectorConnection, holder: Holder, now: float) -> None:
        connection.enter(self)
        self.policy.leases.begin(connection, holder, now)
        if self._waiting:  # since it was asked, for a connection that might not have been leased
            self._maybe_grow_pool()

    def _pop_idle(self, now: float) -> VectorConnection | None:
        """The connection that was idle longest; those whose lifetime is over are replaced."""
        idle = self._pool
        while idle:
            connection = idle.popleft()
            self._nconns_min = min(self._nconns_min, len(idle))
            if not connection.is_expired(now):
                return connection
            self._replace(connection)
        return None

    async def _getconn_unchecked(self, timeout: float) -> VectorConnection:
        """The next idle connection, waiting for it in the order of asking."""
        async with self._lock:
            connection = await self._get_ready_connection(timeout)
            if connection is not None:
                return connection
            client = WaitingLease()
            self._waiting.append(client)
        self._stats[self._REQUESTS_QUEUED] += 1
        self._maybe_grow_pool()
        began = monotonic()
        try:
            return await client.wait(timeout)
        except BaseException:
            self._stats[self._REQUESTS_ERRORS] += 1
            if client.conn is not None:
                await self._add_to_pool(client.conn)
            else:
                with suppress(ValueError):
                    self._waiting.remove(client)
            raise
        finally:
            self._stats[self._REQUESTS_WAIT_MS] += int(1000 * (monotonic() - began))

    def _maybe_grow_pool(self) -> None:
        """Opens as many connections as leases wait for, as far as the workers can at once."""
        for _ in range(self._claim_growth()):
            self.run_task(AddConnection(self))

    def _top_up(self) -> None:
        for _ in range(self._claim_missing()):
            self.run_task(AddConnection(self))

    async def _connect(self, timeout: float | None = None) -> VectorConnection:
        began = monotonic()
        try:
            connection = await super()._connect(timeout)
        except Exception as exc:
            self.policy.connect_failed(exc)
            raise
        self.policy.connect_succeeded(monotonic() - began)
        return connection

    async def _welcome(self, connection: VectorConnection) -> None:
        if self.policy.types.stale(self.config.type_cache_ttl):
            limit = self.config.connection_timeout
            try:
                await ask_async(self.policy, connection, limit, look_up_types=True)
            except BaseException:
                connection.drop()
                raise
        self.policy.welcome(connection)

    async def _add_connection(self, attempt: Any, growing: bool = False) -> None:  # noqa: ARG002
        """Connects, trying again until it succeeds or nobody needs the connection any more."""
        try:
            connection = await self._connect()
        except Exception:  # noqa: BLE001 - remembered and logged by the policy
            if self._claim_retry():
                attempt = attempt or Reconnection()
                await self.schedule_task(AddConnection(self, attempt), attempt.next_delay())
        except asyncio.CancelledError:
            self._nconns -= 1  # the worker is being stopped, which will cancel it again
        else:
            await self._add_to_pool(connection)

    async def _add_to_pool(self, conn: VectorConnection) -> None:
        """Gives a working connection to who waits longest, or keeps it."""
        conn.leave()
        if self._closed:
            conn.drop()
        elif self._nconns > self._max_size:
            self._replace(conn)
        else:
            while self._waiting:
                if await self._waiting.popleft().set(conn):
                    break
            else:
                self._keep(conn)
            self._grown.set()

    def _keep(self, connection: VectorConnection) -> None:
        self._pool.append(connection)

    def _replace(self, connection: VectorConnection) -> None:
        """Closes a connection, and opens another unless there are too many."""
        connection.drop()
        if self._claim_replacement():
            self.run_task(AddConnection(self))

    async def _reset_connection(self, conn: VectorConnection) -> None:
        """Rolls back; a server that does not answer must not hold a worker up."""
        limit = self.config.connection_timeout
        timer = asyncio.get_running_loop().call_later(limit, hang_up, conn)
        try:
            await super()._reset_connection(conn)
        finally:
            timer.cancel()

    async def _recovers(
        self,
        connection: VectorConnection,
        fitness: Fitness,
        seconds: float,
        *,
        look_up_types: bool = False,
    ) -> bool:
        """Whether a connection that was idle can be leased after the server was asked.

        If not, it is replaced, also when this is cancelled.
        """
        policy = self.policy
        began = monotonic()
        try:
            if fitness is Fitness.UNSURE:
                with get_performance_monitor().track_operation("pool_health_check"):
                    await ask_async(policy, connection, seconds, look_up_types=look_up_types)
                connection.alive_at = began
                if policy.is_current(connection):
                    return True
        except Exception as exc:  # noqa: BLE001 - whatever it is, the connection does not work
            logger.info("a connection of pool %s does not answer: %s", self.name, exc)
            self._stats[self._CONNECTIONS_LOST] += 1
            policy.doubt_idle()
            if monotonic() - began >= seconds:  # silence, of which the others have had as much
                while self._pool:
                    self._replace(self._pool.popleft())
        except BaseException:
            self._replace(connection)
            raise
        self._replace(connection)
        return False
