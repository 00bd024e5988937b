"""Asynchronous pools whose connections know the current types, and whose leases are watched."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from psycopg_pool import (
    AsyncConnectionPool,
    PoolClosed,
    PoolTimeout,
    TooManyRequests,
)
from psycopg_pool.pool_async import AddConnection, MaintenanceTask, ReturnConnection

from nanospan.pool.connections import IDLE, VectorConnection, hang_up
from nanospan.pool.health import ask_async
from nanospan.pool.lease import Lease
from nanospan.pool.lease_table import Holder
from nanospan.pool.opening import reach_server_async
from nanospan.pool.policy import Fitness
from nanospan.pool.pool_base import PolicyPool
from nanospan.pool.queueing import WaitingLease
from nanospan.pool.tasks import end_on_cancel

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from psycopg_pool.base import AttemptWithBackoff

    from nanospan.pool.endpoint import Endpoint

__all__ = ["VectorPool"]

WORKERS = 8
"""Tasks that connect; a burst of requests waits for as many connections at once."""
CLOSE_GRACE = 5.0
"""Seconds that a closing pool gives its cancelled tasks."""


class VectorPool(PolicyPool[VectorConnection], AsyncConnectionPool[VectorConnection]):
    """``psycopg_pool.AsyncConnectionPool`` with shared types, self-healing and watched leases.

    Belongs to the event loop it is opened in; its statistics may be read from any thread. What
    ``psycopg_pool`` does under a lock is done here between two awaits, which on one loop is as safe
    and cannot be interrupted by a cancellation.

    Args:
        endpoint: The database, the settings and the types.
        distrust: Called when a lease failed or came back broken, or the pool was closed.
    """

    kind = "async"
    _guard = nullcontext()

    def __init__(self, endpoint: Endpoint, distrust: Callable[[], None]) -> None:
        """Prepare the pool; ``open`` starts it."""
        self._set_up(endpoint, distrust)
        self._grown = asyncio.Event()
        super().__init__(
            connection_class=VectorConnection,
            num_workers=WORKERS,
            configure=self._configure_types,
            **self._arguments(),
        )

    def connection(  # type: ignore[override]  # psycopg_pool's is a generator's
        self, timeout: float | None = None, label: str | None = None
    ) -> AbstractAsyncContextManager[VectorConnection]:
        """Lease a connection for a block: ``async with pool.connection() as connection:``.

        The block's transaction is committed at its end, or rolled back if an exception leaves it.

        Args:
            timeout: Seconds to wait for a connection; by default the pool's ``timeout``.
            label: Names the lease in statistics, in errors and in the log.

        Returns:
            A context manager for one use. Entering it raises what ``getconn`` raises.
        """
        return Lease(timeout, label, self)

    async def getconn(self, timeout: float | None = None) -> VectorConnection:
        """Lease a connection, to be given back with ``putconn``.

        Args:
            timeout: Seconds to wait; by default the pool's ``timeout``.

        Returns:
            A connection that works, as far as its socket tells; if it was idle for longer than
            ``health_check_interval``, the server has confirmed it just now.

        Raises:
            PoolExhausted: If none could be had in time, or ``max_waiting`` leases wait already.
            PoolClosed: If the pool is closed.
        """
        return await self.lease(Holder(), timeout)

    async def lease(self, holder: Holder, timeout: float | None) -> VectorConnection:
        """Lease a connection for ``holder``, see ``getconn``."""
        if self._closed:
            self._check_open_getconn()
        if holder.owner is None:
            holder.owner = asyncio.current_task()
        began = now = self._request_lease(holder)
        deadline = began + (self.timeout if timeout is None else timeout)
        policy = self.policy
        while True:
            connection = self._pop_idle(now)
            if connection is None:
                try:
                    connection = await self._getconn_unchecked(deadline - now)
                except (PoolTimeout, TooManyRequests) as exc:
                    raise self._lease_error(exc, began) from None
                now = monotonic()
            fitness = policy.fitness(connection, self._types, self._doubted_at, now)
            if fitness is Fitness.FIT:
                break
            works = await self._recovers(connection, fitness, policy.patience(deadline - now))
            now = monotonic()
            if works:
                break
        self._begin_lease(connection, holder, began, now)
        return connection

    async def putconn(self, conn: VectorConnection) -> None:
        """End a lease, see ``AsyncConnectionPool.putconn``. Returns without waiting."""
        if self.disowned:
            return
        now = monotonic()
        status = self._end_lease(conn, now)
        if self._closed:
            conn.drop()
        elif status != IDLE:
            # A worker waits for the rollback: it may take long, and this may be cancelled.
            self.run_task(ReturnConnection(self, conn, from_getconn=False))
        elif conn.is_expired(now, self._drained_at):
            self._replace(conn)
        else:
            self._put_back(conn)

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until ``min_size`` connections are open, idle or leased. Never closes the pool.

        Args:
            timeout: Seconds to wait.

        Raises:
            PoolExhausted: If they are not open in time.
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
        """Change the sizes of the open pool.

        Missing connections are opened in the background. Idle ones over ``max_size`` are closed at
        once, leased ones when they come back.

        Args:
            min_size: Connections kept open.
            max_size: Connections open at most; by default ``min_size``.

        Raises:
            ValueError: If the sizes are not integers, or out of range.
        """
        self._change_sizes(min_size, max_size)

    async def check_health(self, seconds: float) -> None:
        """Ask the server whether the pool works, and whether the types changed.

        Asks on an idle connection; if that fails, or none is idle, a new connection decides. A
        pool whose connections are all leased is not checked: its users notice a failure themselves.

        Args:
            seconds: Time limit.

        Raises:
            PoolOpenError: If the server does not answer in time, or refuses.
        """
        began = monotonic()
        connection = self._pop_idle(began)
        if connection is not None:
            if await self._recovers(connection, Fitness.UNSURE, seconds / 2, look_up_types=True):
                self._put_back(connection)
                return
        elif len(self.leases) >= self._max_size:
            return
        await reach_server_async(self.endpoint, began + seconds - monotonic())

    async def sweep(self) -> None:
        """Report leaks, replace idle connections that are lost or expired, open missing ones."""
        self._report_leaks()
        for connection, fitness in self._take_outdated():
            if await self._recovers(connection, fitness, self.config.connection_timeout):
                self._put_back(connection)
        self._top_up()

    async def close(self, timeout: float = CLOSE_GRACE) -> None:
        """Close the pool: new and waiting leases fail, leased connections close on return.

        Args:
            timeout: Seconds to wait for the pool's tasks to end.
        """
        if self._closed:
            return
        self._closed = True
        self._distrust()
        waiting, idle = list(self._waiting), list(self._pool)
        self._waiting.clear()
        self._pool.clear()
        self._grown.set()
        for client in waiting:
            client.fail(PoolClosed(f"the pool {self.name!r} is closed"))
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

    @classmethod
    async def worker(cls, q: asyncio.Queue[Any]) -> None:
        """Run the pool's maintenance until cancelled."""
        await end_on_cancel(super().worker(q))  # type: ignore[arg-type]

    def _start_workers(self) -> None:
        run = self._sched.run
        self._sched.run = lambda: end_on_cancel(run())  # type: ignore[method-assign]
        super()._start_workers()

    def _start_initial_tasks(self) -> None:
        super()._start_initial_tasks()
        self.run_task(_Sweep(self))

    def _request_connection(self) -> None:
        self.run_task(AddConnection(self))

    async def _getconn_unchecked(self, timeout: float) -> VectorConnection:
        """Return the next idle connection; leases get it in the order in which they asked."""
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
                self._put_back(client.conn)
            else:
                with suppress(ValueError):
                    self._waiting.remove(client)
            raise
        finally:
            self._stats[self._REQUESTS_WAIT_MS] += int(1000 * (monotonic() - began))

    async def _connect(self, timeout: float | None = None) -> VectorConnection:
        with self._watch_connect():
            return await super()._connect(timeout)

    async def _configure_types(self, connection: VectorConnection) -> None:
        with self._prepare(connection):
            if self.endpoint.types_are_stale():
                limit = self.config.connection_timeout
                await ask_async(self.endpoint, connection, limit, look_up_types=True)

    async def _add_connection(
        self,
        attempt: AttemptWithBackoff | None,
        growing: bool = False,  # noqa: ARG002 - psycopg_pool's signature
    ) -> None:
        """Connect, trying again until it succeeds or the connection is not needed any more."""
        try:
            connection = await self._connect()
        except Exception:  # noqa: BLE001 - recorded and logged by _watch_connect
            if (attempt := self._next_attempt(attempt)) is not None:
                await self.schedule_task(AddConnection(self, attempt), attempt.delay)
        except asyncio.CancelledError:
            self._nconns -= 1  # the worker is being stopped, which will cancel it again
        else:
            self._put_back(connection)

    async def _add_to_pool(self, conn: VectorConnection) -> None:
        self._put_back(conn)

    def _put_back(self, connection: VectorConnection) -> None:
        """Give a working connection to the lease that waits longest, or keep it."""
        connection._pool = None  # noqa: SLF001 - an idle connection must not refer to its pool
        if self._closed:
            connection.drop()
        elif self.policy.is_surplus(self._nconns, self._max_size):
            self._replace(connection)
        else:
            while self._waiting:
                if self._waiting.popleft().give(connection):
                    break
            else:
                self._keep(connection)
            self._grown.set()

    def _keep(self, connection: VectorConnection) -> None:
        self._pool.append(connection)

    async def _reset_connection(self, conn: VectorConnection) -> None:
        """Roll back, within a time limit: a silent server must not hold up a worker."""
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
        """Ask the server about an idle connection that is UNSURE; return True if it can be leased.

        If not, it is replaced, also when this is cancelled.
        """
        if fitness is Fitness.UNFIT:
            self._replace(connection)
            return False
        with self._health_check(connection, seconds):
            await ask_async(self.endpoint, connection, seconds, look_up_types=look_up_types)
        return not connection.closed


class _Sweep(MaintenanceTask):
    """Sweeps a pool again and again; scheduled as psycopg_pool's ``ShrinkPool`` is."""

    async def _run(self, pool: AsyncConnectionPool[Any]) -> None:
        swept = cast("VectorPool", pool)
        await swept.schedule_task(self, swept.policy.sweep_interval)
        await swept.sweep()
