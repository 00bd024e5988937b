"""A pool whose connections all know the current types, and whose leases are watched."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from perfuse.pool.config import ConnectionPoolConfig
    from perfuse.pool.conninfo import Target
    from perfuse.pool.vector_types import DatabaseTypes

__all__ = ["VectorConnection", "VectorPool", "connect_parameters"]

logger = logging.getLogger(__name__)


class VectorConnection(AsyncConnection[Any]):
    """A connection that remembers which generation of types it was given."""

    generation: int = 0


class _OutdatedTypes(psycopg.InterfaceError):
    """Tells the pool not to hand out a connection; never leaves it."""


async def _until_cancelled(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` so that one cancellation ends it.

    psycopg_pool's worker takes a cancellation during a connection attempt for a failed attempt, and
    its scheduler, before Python 3.12, may lose one to `asyncio.wait_for`. Both then go on, and
    `asyncio.run` would wait for ever for a pool that was left open.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)


def connect_parameters(target: Target, config: ConnectionPoolConfig) -> dict[str, Any]:
    """The libpq parameters that carry the settings; those in the connection string win."""
    wanted = {
        "connect_timeout": math.ceil(config.connection_timeout),
        "keepalives": 1,
        "keepalives_idle": config.keepalives_idle,
        "keepalives_interval": config.keepalives_interval,
        "keepalives_count": config.keepalives_count,
    }
    return {name: value for name, value in wanted.items() if name not in target.params}


class VectorPool(AsyncConnectionPool[VectorConnection]):
    """`AsyncConnectionPool` with shared types and watched leases.

    Belongs to the event loop it is opened in. A connection of an older generation of types is
    closed instead of being leased again. Must be opened after the types were looked up.

    Args:
        target: What to connect to.
        config: The settings.
        types: The types of that database.
        on_failed_lease: Called when no connection could be had in time, or one came back broken.
    """

    def __init__(
        self,
        target: Target,
        config: ConnectionPoolConfig,
        types: DatabaseTypes,
        on_failed_lease: Callable[[], None],
    ) -> None:
        """Prepares the pool; `open` starts it."""
        self.config = config
        self._types = types
        self._generation = 0
        self._parameters = connect_parameters(target, config)
        self._on_failed_lease = on_failed_lease
        self._leases: dict[VectorConnection, asyncio.TimerHandle | None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(
            target.conninfo,
            connection_class=VectorConnection,
            kwargs=self._connect_arguments,
            configure=self._configure_types,
            check=self._check_types,
            open=False,
            name=target.masked,
            min_size=config.min_size,
            max_size=config.max_size,
            timeout=config.timeout,
            max_waiting=config.max_waiting,
            max_lifetime=config.recycle,
            max_idle=config.max_idle,
        )

    @property
    def busy(self) -> bool:
        """Whether as many connections are leased as there may be."""
        return len(self._leases) >= self.max_size

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        """Opens the pool in the running loop, see `AsyncConnectionPool.open`."""
        self._loop = asyncio.get_running_loop()
        if self._types.current is not None:
            self._generation = self._types.current.generation
        await super().open(wait, timeout)

    async def getconn(self, timeout: float | None = None) -> VectorConnection:
        """Leases a connection, see `AsyncConnectionPool.getconn`."""
        try:
            connection = await super().getconn(timeout)
        except TooManyRequests:
            raise  # says how busy the pool is, not that anything is broken
        except PoolTimeout:
            self._on_failed_lease()
            raise
        timer = None
        if self.config.leak_after is not None and self._loop is not None:
            timer = self._loop.call_later(
                self.config.leak_after, self._report_leak, asyncio.current_task()
            )
        self._leases[connection] = timer
        return connection

    async def putconn(self, conn: VectorConnection) -> None:
        """Ends a lease, see `AsyncConnectionPool.putconn`."""
        timer = self._leases.pop(conn, None)
        if timer is not None:
            timer.cancel()
        if conn.closed:
            self._on_failed_lease()
        await super().putconn(conn)

    @classmethod
    async def worker(cls, q: asyncio.Queue[Any]) -> None:
        """Runs the pool's maintenance, and ends when it is cancelled."""
        await _until_cancelled(super().worker(q))  # type: ignore[arg-type]

    def _start_workers(self) -> None:
        run = self._sched.run
        self._sched.run = lambda: _until_cancelled(run())  # type: ignore[method-assign]
        super()._start_workers()

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[VectorConnection]:
        """Leases a connection for a block, see `AsyncConnectionPool.connection`.

        A statement that the server refuses because a type is gone (the extension was created
        anew, a database restored) makes the next lease look the types up.
        """
        try:
            async with super().connection(timeout) as connection:
                yield connection
        except psycopg.errors.InternalError_ as exc:
            if "cache lookup failed for type" in str(exc):
                self._types.distrust()
            raise

    def abandon(self) -> None:
        """Closes idle connections of a pool whose event loop is gone, without awaiting anything."""
        self._closed = True
        while self._pool:
            self._pool.popleft().pgconn.finish()
        self._leases.clear()

    def _connect_arguments(self) -> dict[str, Any]:
        current = self._types.current
        return {**self._parameters, "context": current.adapters if current else None}

    async def _configure_types(self, connection: VectorConnection) -> None:
        current = self._types.current
        if current is None or self._types.stale(self.config.type_cache_ttl):
            current = await self._types.refresh(connection)
        # The types may have changed while this connection was being made, or by the look-up above.
        if not current.known_to(connection.adapters):
            current.register(connection.adapters)
        connection.generation = current.generation

    async def _check_types(self, connection: VectorConnection) -> None:
        """Runs for each lease; raising makes the pool try another connection."""
        if self._types.stale(self.config.type_cache_ttl):
            await self._types.refresh(connection)
        current = self._types.current
        if current is None or connection.generation == current.generation:
            return
        if self._generation != current.generation:
            self._generation = current.generation
            await self.drain()  # idle ones now, leased ones when they come back
        await connection.close()
        raise _OutdatedTypes

    def _report_leak(self, task: asyncio.Task[Any] | None) -> None:
        logger.warning(
            "a connection of pool %s has been held for more than %g s by task %r",
            self.name,
            self.config.leak_after,
            task.get_name() if task is not None else None,
        )
