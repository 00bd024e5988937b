"""Asynchronous pools with shared pgvector types, health checks and tracked leases."""

from __future__ import annotations

import asyncio
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from psycopg import AsyncConnection
from psycopg_pool import (
    AsyncConnectionPool,
    PoolClosed,
    PoolTimeout,
    TooManyRequests,
)
from psycopg_pool.abc import ACT
from psycopg_pool.pool_async import MaintenanceTask

from nanospan.pool.async_pool_base import AsyncPoolBase
from nanospan.pool.lease import GetconnLease, Lease
from nanospan.pool.lease_table import Holder
from nanospan.pool.opening import reach_server_async
from nanospan.pool.own_pools import own_endpoint
from nanospan.pool.policy import Fitness, Reconnection
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from typing_extensions import Unpack

    from nanospan.pool.config import PoolSettings
    from nanospan.pool.conninfo import Conninfo
    from nanospan.pool.endpoint import Endpoint

__all__ = ["VectorPool"]

CLOSE_GRACE = 5.0
"""Default number of seconds that a closing pool waits for its cancelled tasks to end."""


class VectorPool(AsyncPoolBase[ACT]):
    """An ``AsyncConnectionPool`` with shared pgvector types, self-healing and tracked leases.

    Takes the arguments of psycopg_pool's class, and the other settings of ``ConnectionPoolConfig``.
    A pool belongs to the event loop it is opened in; its statistics may be read from any thread.
    In any other loop, each method that is awaited raises a RuntimeError that names both.
    Where ``psycopg_pool`` holds a lock, most methods here change the state without awaiting, which
    is equally safe within one loop and cannot be interrupted by a cancellation.
    """

    kind = "async"
    _plain_class = AsyncConnection
    _lease: ClassVar[type[Lease]] = Lease

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.getconn is not VectorPool.getconn:
            cls._lease = GetconnLease

    def __init__(  # noqa: PLR0913 - psycopg_pool's arguments, as keywords
        self,
        conninfo: Conninfo = "",
        *,
        connection_class: type[ACT] = cast("type[ACT]", AsyncConnection),  # noqa: B008 - a cast
        min_size: int | None = None,
        max_size: int | None = None,
        open: bool | None = None,  # noqa: A002 - psycopg_pool's name
        name: str | None = None,
        max_lifetime: float = 3600.0,
        configure: Callable[[ACT], Any] | None = None,
        check: Callable[[ACT], Any] | None = None,
        reset: Literal["none", "discard"] | Callable[[ACT], Any] | None = "none",
        **settings: Unpack[PoolSettings],
    ) -> None:
        """Prepare the pool; ``open``, or an ``async with`` block, starts it.

        Args:
            conninfo: A connection string, or a function, asynchronous or not, that returns the
                one to use for each new connection.
            connection_class: The class of the connections.
            min_size: Number of connections to keep open; 4 by default, and 0 in null pools.
            max_size: Maximum number of open connections; by default ``min_size``.
            open: Whether to open the pool at once, which psycopg_pool warns of.
            name: The pool's name in the log; by default the masked connection string.
            max_lifetime: The setting ``recycle``.
            configure: The setting ``configure``. If no class is given, the type of its argument is
                that of the pool's connections, to type checkers; so are those of the next two.
            check: The setting ``check``.
            reset: The setting ``reset``.
            **settings: Other settings, with the names and defaults of ``ConnectionPoolConfig``.

        Raises:
            ValueError: If a setting is invalid.
            ConninfoError: If libpq cannot read ``conninfo``.
        """
        fields = {
            "connection_class": connection_class,
            "configure": configure,
            "check": check,
            "reset": reset,
            **settings,
        }
        endpoint = own_endpoint(self, conninfo, (min_size, max_size), max_lifetime, fields)
        self._begin(endpoint, lambda: None, open=open, name=name)

    def _set_up(self, endpoint: Endpoint, distrust: Callable[[], None]) -> None:
        super()._set_up(endpoint, distrust)
        self._grown = asyncio.Event()
        self._cleaners = {}
        self._reports = set()
        self._home = None
        self._home_thread = 0

    def connection(  # type: ignore[override]  # psycopg_pool's method is a generator
        self, timeout: float | None = None, label: str | None = None
    ) -> AbstractAsyncContextManager[ACT]:
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
        return cast("AbstractAsyncContextManager[ACT]", self._lease(timeout, label, self))

    async def getconn(self, timeout: float | None = None) -> ACT:
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
            RuntimeError: If the pool belongs to another event loop.
        """
        return await self.lease(Holder(), timeout)

    async def lease(self, holder: Holder, timeout: float | None) -> ACT:
        """Lease a connection for ``holder``; see ``getconn``."""
        if holder.owner is None:  # otherwise, a manager has found the pool by the running loop
            holder.owner = self._running_task()
        if self._closed or self._open_implicit:
            self._check_open_getconn()
        began = now = self._request_lease(holder)
        deadline = began + (self.timeout if timeout is None else timeout)
        policy, check = self.policy, self._check
        attempt: Reconnection | None = None
        while True:
            connection = self._pop_idle(now)
            if connection is None:
                try:
                    connection = await self._getconn_unchecked(deadline - now)
                except (PoolTimeout, TooManyRequests) as exc:
                    raise self._lease_error(exc, began) from None
                now = monotonic()
            fitness = policy.fitness(connection, self._types, self._doubted_at, now)
            if fitness is Fitness.FIT and check is None:
                break
            patience = policy.patience(deadline - now)
            works = fitness is Fitness.FIT or await self._recovers(connection, fitness, patience)
            if works and check is not None:
                works = await self._passes(connection, patience)
                if not works:
                    attempt = attempt or Reconnection()
                    await asyncio.sleep(self._pause(attempt, began, deadline))
            now = monotonic()
            if works:
                break
        self._begin_lease(connection, holder, began, now)
        return connection  # type: ignore[no-any-return]

    async def putconn(self, conn: ACT) -> None:
        """Return a leased connection to the pool without waiting.

        A background task rolls back any open transaction, and undoes what the lease changed.

        Raises:
            ValueError: If the connection is not leased from this pool.
        """
        if self.disowned:
            return
        now = monotonic()
        connection: Any = conn
        if get_ident() != self._home_thread or not self._home_runs():
            self._check_return(connection)
        clean = self._end_lease(connection, now)
        if self._closed:
            connection.drop()
        elif not clean:
            self._clean_up(connection)
        elif connection.is_expired(now, self._drained_at):
            self._replace(connection)
        else:
            self._put_back(connection)

    def _check_return(self, connection: Any) -> None:
        if self._home is not None and self._home.is_closed() and connection in self.leases:
            self.leases.end(connection)
            connection.drop()  # nothing else will
        self._check_loop()

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until ``min_size`` connections are idle.

        Unlike in psycopg_pool, the pool stays open if the wait times out.

        Args:
            timeout: Maximum seconds to wait.

        Raises:
            PoolExhausted: If the connections are not idle in time.
            PoolClosed: If the pool is closed.
        """
        await self._wait_for(lambda: len(self._pool) >= self._min_size, timeout)

    async def fill(self, timeout: float) -> None:
        """Wait until ``min_size`` connections are open, whether idle or leased; see ``wait``."""
        await self._wait_for(lambda: self.open_connections >= self._min_size, timeout)

    async def _wait_for(self, is_reached: Callable[[], bool], timeout: float) -> None:
        deadline = monotonic() + timeout
        self._check_open_getconn()
        self._check_loop()
        while not is_reached():
            self._check_fault()
            self._grown.clear()
            try:
                await asyncio.wait_for(self._grown.wait(), deadline - monotonic())
            except asyncio.TimeoutError:
                raise self.exhausted(timeout) from None
            self._check_open_getconn()

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
        self._check_loop()
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
        self._check_loop()
        began = monotonic()
        connection = self._pop_idle(began)
        if connection is not None:
            if await self._recovers(connection, Fitness.UNSURE, seconds / 2, look_up_types=True):
                self._put_back(connection)
                return
        elif len(self.leases) >= self._limit:
            return
        await reach_server_async(self.endpoint, began + seconds - monotonic())

    async def sweep(self) -> None:
        """Log leaked leases, replace lost or expired idle connections; fill up to the minimum."""
        self._check_loop()
        self._report_leaks()
        for connection, fitness in self._outdated():
            if await self._recovers(connection, fitness, self.config.connection_timeout):
                self._put_back(connection)
        self._top_up()

    async def check(self) -> None:
        """Ask the server on each idle connection, one at a time, and replace those that fail.

        Each may take up to ``connection_timeout``. Also fills the pool up to ``min_size``.
        """
        self._check_loop()
        self._maybe_grow_pool()
        for connection in self._idle():
            if self._take(connection):
                expired = connection.is_expired(monotonic())
                fitness = Fitness.UNFIT if expired else Fitness.UNSURE
                if await self._recovers(connection, fitness, self.config.connection_timeout):
                    self._put_back(connection)
                elif not expired:
                    self._report_broken(connection)
        self._top_up()

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        """Open the pool in the running event loop; an open pool stays as it is.

        Args:
            wait: Whether to wait until ``min_size`` connections are idle.
            timeout: Maximum seconds to wait.

        Raises:
            RuntimeError: If the pool is open in another event loop.
            OperationalError: If the pool was closed.
        """
        self._check_loop()
        await super().open(wait, timeout)

    async def drain(self) -> None:
        """Replace every connection: idle ones now, and leased ones when they are returned."""
        self._check_loop()
        await super().drain()

    async def close(self, timeout: float = CLOSE_GRACE) -> None:
        """Close the pool. New and waiting leases fail; leased connections are closed when returned.

        Args:
            timeout: Maximum seconds to wait for the pool's tasks to end.

        Raises:
            RuntimeError: If the pool belongs to another event loop. If that one is closed, so is
                the pool, without an error.
        """
        if self._closed:
            return
        if self._home is not None and self._home.is_closed():
            self.abandon()
            return
        self._check_loop()
        self._closed = True
        self._distrust()
        waiting, idle = list(self._waiting), list(self._pool)
        self._waiting.clear()
        self._pool.clear()
        self._grown.set()
        for client in waiting:
            client.fail(PoolClosed(f"the pool {shown(self.name)} is closed"))
        for connection in idle:
            connection.drop()
        cleaners = dict(self._cleaners)
        tasks = {each for each in (*self._workers, self._sched_runner, *cleaners) if each}
        self._workers, self._sched_runner = [], None
        for runner in tasks:
            runner.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        for connection in cleaners.values():
            connection.drop()

    def _start_initial_tasks(self) -> None:
        super()._start_initial_tasks()
        self.run_task(_Sweep(self))


class _Sweep(MaintenanceTask):
    """Task that calls a pool's ``sweep`` periodically, like psycopg_pool's ``ShrinkPool``."""

    async def _run(self, pool: AsyncConnectionPool[Any]) -> None:
        swept = cast("VectorPool[Any]", pool)
        await swept.schedule_task(self, swept.policy.sweep_interval)
        await swept.sweep()
