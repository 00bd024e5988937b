"""Asynchronous pools with shared pgvector types, health checks and tracked leases."""

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
from nanospan.pool.errors import OUTAGE
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
"""Number of worker tasks per pool, which limits how many connections open concurrently."""
CLOSE_GRACE = 5.0
"""Default number of seconds that a closing pool waits for its cancelled tasks to end."""


class VectorPool(PolicyPool[VectorConnection], AsyncConnectionPool[VectorConnection]):
    """An ``AsyncConnectionPool`` with shared pgvector types, self-healing and tracked leases.

    A pool belongs to the event loop it is opened in; its statistics may be read from any thread.
    Where ``psycopg_pool`` holds a lock, most methods here change the state without awaiting, which
    is equally safe within one loop and cannot be interrupted by a cancellation.

    Args:
        endpoint: The database, its settings and its types.
        distrust: Called when a lease times out, a connection is returned broken, or the pool is
            closed.
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

    def connection(  # type: ignore[override]  # psycopg_pool's method is a generator
        self, timeout: float | None = None, label: str | None = None
    ) -> AbstractAsyncContextManager[VectorConnection]:
        """Lease a connection for a block: ``async with pool.connection() as connection:``.

        The transaction is committed at the end of the block, or rolled back if the block raises an
        exception.

        Args:
            timeout: Seconds to wait for a connection; ``None`` for the pool's ``timeout``.
            label: Name of the lease in statistics, errors and the log.

        Returns:
            A context manager that can be used once. Entering it can raise the same exceptions as
            ``getconn``.
        """
        return Lease(timeout, label, self)

    async def getconn(self, timeout: float | None = None) -> VectorConnection:
        """Lease a connection, which the caller must return with ``putconn``.

        Args:
            timeout: Seconds to wait for a connection; ``None`` for the pool's ``timeout``.

        Returns:
            A connection whose socket shows no sign of a problem. If it was idle for longer than
            ``health_check_interval``, it has just been checked with the server.

        Raises:
            PoolExhausted: If no connection becomes available in time, or ``max_waiting`` leases
                are already waiting.
            PoolClosed: If the pool is closed.
        """
        return await self.lease(Holder(), timeout)

    async def lease(self, holder: Holder, timeout: float | None) -> VectorConnection:
        """Lease a connection for ``holder``; see ``getconn``."""
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
        """Return a leased connection to the pool without waiting.

        A worker rolls back any open transaction in the background.
        """
        if self.disowned:
            return
        now = monotonic()
        status = self._end_lease(conn, now)
        if self._closed:
            conn.drop()
        elif status != IDLE:
            # A worker does it, because a rollback may take long and this call may be cancelled.
            self.run_task(ReturnConnection(self, conn, from_getconn=False))
        elif conn.is_expired(now, self._drained_at):
            self._replace(conn)
        else:
            self._put_back(conn)

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until ``min_size`` connections are open, whether idle or leased.

        Unlike in psycopg_pool, the pool stays open if the wait times out.

        Args:
            timeout: Maximum seconds to wait.

        Raises:
            PoolExhausted: If the connections are not open in time.
            PoolClosed: If the pool is closed.
        """
        began = monotonic()
        while self.open_connections < self._min_size:
            self._check_open_getconn()
            self._check_fault()
            self._grown.clear()
            remaining = began + timeout - monotonic()
            try:
                await asyncio.wait_for(self._grown.wait(), remaining)
            except asyncio.TimeoutError:
                raise self.exhausted(timeout) from None

    async def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the minimum and maximum size of the open pool.

        Missing connections are opened in the background. Idle connections over ``max_size`` are
        closed at once; leased connections are closed when they are returned.

        Args:
            min_size: Number of connections to keep open.
            max_size: Maximum number of open connections; ``None`` means the same as ``min_size``.

        Raises:
            ValueError: If the sizes are not integers, or are out of range.
        """
        self._change_sizes(min_size, max_size)

    async def check_health(self, seconds: float) -> None:
        """Check that the pool can reach its server and that its pgvector types are current.

        Uses an idle connection; if there is none, or if it fails the check, opens a new connection
        instead. Does nothing if ``max_size`` connections are leased, because their users will
        notice a failure.

        Args:
            seconds: Time limit for the check, in seconds.

        Raises:
            PoolOpenError: If the server refuses the connection or does not answer in time.
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
        """Log leaked leases, replace lost or expired idle connections; fill up to the minimum."""
        self._report_leaks()
        for connection, fitness in self._take_outdated():
            if await self._recovers(connection, fitness, self.config.connection_timeout):
                self._put_back(connection)
        self._top_up()

    async def close(self, timeout: float = CLOSE_GRACE) -> None:
        """Close the pool. New and waiting leases fail; leased connections are closed when returned.

        Args:
            timeout: Maximum seconds to wait for the pool's tasks to end.
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
        """Run the pool's queued tasks until cancelled."""
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
        """Return an idle connection, or wait for one; waiting leases are served in order."""
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
        """Open a connection, retrying until it succeeds or the connection is no longer needed."""
        try:
            connection = await self._connect()
        except OUTAGE:  # recorded and logged by _watch_connect
            if (attempt := self._next_attempt(attempt)) is not None:
                await self.schedule_task(AddConnection(self, attempt), attempt.delay)
        except Exception as exc:  # noqa: BLE001 - raised in the leases that wait
            self._give_up(exc)
            self._grown.set()
        except asyncio.CancelledError:
            self._nconns -= 1  # the worker is being stopped, which will cancel it again
        else:
            self._put_back(connection)

    async def _add_to_pool(self, conn: VectorConnection) -> None:
        self._put_back(conn)

    def _put_back(self, connection: VectorConnection) -> None:
        """Hand a working connection to the longest-waiting lease, or keep it in the pool."""
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
        """Roll back with a time limit, because an unresponsive server would block the worker."""
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
        """Return True if a connection can be leased; check an UNSURE one with the server first.

        An UNFIT connection, or one whose check fails or is cancelled, is closed and replaced.
        """
        if fitness is Fitness.UNFIT:
            self._replace(connection)
            return False
        with self._health_check(connection, seconds):
            await ask_async(self.endpoint, connection, seconds, look_up_types=look_up_types)
        return not connection.closed


class _Sweep(MaintenanceTask):
    """Task that calls a pool's ``sweep`` periodically, like psycopg_pool's ``ShrinkPool``."""

    async def _run(self, pool: AsyncConnectionPool[Any]) -> None:
        swept = cast("VectorPool", pool)
        await swept.schedule_task(self, swept.policy.sweep_interval)
        await swept.sweep()
