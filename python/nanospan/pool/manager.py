"""The process-wide manager of asynchronous connection pools."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from asyncio import get_running_loop
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import psycopg

from nanospan import get_performance_monitor
from nanospan.pool.conninfo import Target
from nanospan.pool.errors import PoolOpenError
from nanospan.pool.lease import Lease
from nanospan.pool.null_pools import VectorNullPool
from nanospan.pool.opening import reach_server_async
from nanospan.pool.registry import REGISTRY, PoolKey, check_config
from nanospan.pool.single_flight import SingleFlight
from nanospan.pool.vector_pool import VectorPool
from nanospan.pool.warmup import WarmupReport, check_urls, conclude, display_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.connections import VectorConnection
    from nanospan.pool.shared_pool import SharedPool

__all__ = [
    "GlobalConnectionManager",
    "get_global_connection_manager",
    "reset_global_connection_pools",
    "warmup_global_connection_pools",
]

logger = logging.getLogger("nanospan.pool")

CLOSE_TIMEOUT = 10.0
"""Seconds to wait for another thread's event loop to close its pool."""
LOOK_AGAIN = 0.1
"""Seconds between two looks at whether that loop still runs."""
REGISTRATION_THRESHOLD = 0.050
"""Seconds over which a look-up of pgvector's types is a violation, unless the user set another."""


class GlobalConnectionManager:
    """Shares one pool per process, event loop and database URL.

    A singleton: constructing it again gives the same object and changes nothing. URLs that spell
    the same parameters differently share a pool. The methods may be called from any thread and
    event loop; a pool is used in the loop that asked for it. A forked child begins without pools.
    """

    _instance: GlobalConnectionManager | None = None
    _creation = threading.Lock()

    def __new__(cls) -> GlobalConnectionManager:  # noqa: PYI034 - one instance for all subclasses
        """The one instance, made by the first caller."""
        with cls._creation:
            if GlobalConnectionManager._instance is None:
                instance = super().__new__(cls)
                instance._set_up()
                GlobalConnectionManager._instance = instance
            return GlobalConnectionManager._instance

    @classmethod
    def get_instance(cls) -> GlobalConnectionManager:
        """The one instance."""
        return cls()

    def _set_up(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_to_parent)
        monitor = get_performance_monitor()
        monitor.add_source(REGISTRY.measurements)
        self._track_access = monitor.operation("connection_pool_access").track
        self._warm = REGISTRY.warm
        if "pgvector_registration" not in monitor.thresholds:
            monitor.set_threshold("pgvector_registration", REGISTRATION_THRESHOLD)

    def _begin(self) -> None:
        self._openings: SingleFlight[PoolKey, SharedPool[VectorPool]] = SingleFlight()
        self._checks: SingleFlight[PoolKey, None] = SingleFlight()

    def _leave_to_parent(self) -> None:
        # The lock may have been held by a thread that does not exist in the child.
        GlobalConnectionManager._creation = threading.Lock()
        self._begin()

    async def get_connection_pool(
        self,
        db_url: str,
        config: ConnectionPoolConfig | None = None,
        store_ref: object | None = None,
    ) -> VectorPool:
        """The shared pool of a database in the running event loop, opened by the first caller.

        Tracked as `connection_pool_access`.

        Args:
            db_url: A PostgreSQL URL or `key=value` pairs.
            config: Settings for a pool that is opened by this call; a pool that is open already
                keeps its own, with a warning if they differ.
            store_ref: An object that uses the pool. While it lives, `close_pool` leaves the pool
                open.

        Returns:
            An open `psycopg_pool.AsyncConnectionPool`. Do not close it; others use it.

        Raises:
            PoolOpenError: If the server does not answer within `connection_timeout`, or refuses.
            ConninfoError: If `db_url` cannot be read.
            TypeError: If `store_ref` cannot be weakly referenced, or `config` is something else.
        """
        with self._track_access():
            try:
                shared = self._warm[get_running_loop()][db_url]
            except KeyError:
                shared = None
            if shared is None or (config is not None and config is not shared.config):
                shared = await self._open_or_check(db_url, config)
            if store_ref is not None:
                shared.references.add(store_ref)
            return shared.pool

    def lease(
        self,
        db_url: str,
        label: str | None = None,
        *,
        config: ConnectionPoolConfig | None = None,
        timeout: float | None = None,
    ) -> Lease:
        """Leases a connection of the shared pool: `async with manager.lease(url) as connection:`.

        The block's transaction is committed at its end, or rolled back if an exception leaves it.
        Until the block begins is tracked as `connection_pool_access`, the block as
        `connection_lease`. Opens the pool if this is its first use.

        Args:
            db_url: A PostgreSQL URL or `key=value` pairs.
            label: Names the lease in statistics, in errors and in the log.
            config: As for `get_connection_pool`.
            timeout: Seconds to wait for a connection of an open pool, its health check included; by
                default the pool's `timeout`. Opening has `connection_timeout`.

        Returns:
            A context manager for one use. Entering it raises `PoolExhausted` if no connection
            could be had in time, and what `get_connection_pool` raises.
        """
        return _SharedLease(self, db_url, config, timeout, label)

    async def warmup_common_pools(
        self,
        urls: Iterable[str],
        config: ConnectionPoolConfig | None = None,
        *,
        strict: bool = False,
    ) -> list[WarmupReport]:
        """Opens the pools of `urls` at the same time, until `min_size` connections are ready each.

        Args:
            urls: Connection strings.
            config: Settings for pools that are not open yet.
            strict: Whether to raise the first error once all have ended.

        Returns:
            A report per URL, in order. Errors are in it, and are logged.

        Raises:
            TypeError: If `urls` is a single string.
            PoolOpenError: With `strict`, as for `get_connection_pool`.
            PoolTimeout: With `strict`, if not all connections were ready within
                `connection_timeout`; the pool stays open.
        """
        warming = (self._warm_up(url, config) for url in check_urls(urls))
        return conclude(list(await asyncio.gather(*warming)), strict=strict)

    async def is_pool_healthy(self, pool: VectorPool, url: str) -> bool:
        """Whether a pool of the running loop works; asks the server unless it did so recently.

        Args:
            pool: What `get_connection_pool` returned.
            url: Its connection string.

        Returns:
            `False` if the pool is closed, is not the one of `url`, or its server does not answer.
        """
        key = (Target.parse(url).key, get_running_loop())
        shared = REGISTRY.pools.get(key)
        if shared is None or shared.pool is not pool or pool.closed:
            return False
        if monotonic() < shared.healthy_until:
            return True
        try:
            await self._check(key, shared)
        except PoolOpenError as exc:
            logger.warning("pool is not healthy: %s", exc)
            return False
        return True

    async def close_pool(self, url: str, force: bool = False) -> bool:
        """Closes the pools of a URL in all event loops, unless objects that use them are alive.

        Args:
            url: A connection string.
            force: Whether to close them anyway.

        Returns:
            Whether no pool of that URL is left open.
        """
        return await self._close(Target.parse(url).key, force=force)

    async def close_all_pools(self, force: bool = False) -> bool:
        """Closes every pool that is not in use by a living `store_ref`.

        Args:
            force: Whether to close those, too.

        Returns:
            Whether no pool is left open.
        """
        return await self._close(None, force=force)

    async def reset_all_pools(self) -> None:
        """Closes every pool, in use or not, and forgets all that was learnt about databases."""
        await self.close_all_pools(force=True)
        REGISTRY.types.clear()

    async def resize_pool(self, url: str, min_size: int, max_size: int) -> bool:
        """Changes the sizes of a pool of the running loop, see `VectorPool.resize`.

        Args:
            url: A connection string.
            min_size: Connections kept open.
            max_size: Connections open at most.

        Returns:
            Whether there is such a pool.

        Raises:
            ValueError: If these make no pool.
        """
        shared = REGISTRY.pools.get((Target.parse(url).key, get_running_loop()))
        if shared is None or shared.pool.closed:
            return False
        await shared.pool.resize(min_size, max_size)
        return True

    def get_pool_statistics(self) -> dict[str, dict[str, Any]]:
        """Settings, state, counters and distributions of every pool of the process.

        By masked URL. Pools whose masked URLs are equal, such as those of two event loops or two
        passwords, are told apart by a number: `postgresql://...`, `postgresql://... (2)`.

        Returns:
            For each pool: the settings `min_size, max_size, timeout, recycle`; its state `size,
            available, leased, waiting, pool_closed, active_references`; psycopg_pool's counters;
            `errors`, the leases that failed; `wait`, `hold` and `connect`, each with `count` and
            `p50, p95, p99` in seconds; and `holders`, the leases under way, longest first.
        """
        return REGISTRY.statistics()

    async def _open_or_check(
        self, db_url: str, config: ConnectionPoolConfig | None, seconds: float | None = None
    ) -> SharedPool[VectorPool]:
        """The pool, healthy; `PoolExhausted` if an open one is not within `seconds`."""
        check_config(config)
        REGISTRY.drop_dead_loops()
        loop = get_running_loop()
        target = Target.parse(db_url)
        key = (target.key, loop)
        while True:
            shared = REGISTRY.pools.get(key)
            if shared is None or shared.pool.closed:
                shared = await self._openings.do(key, lambda: self._open(key, target, config))
            elif monotonic() >= shared.healthy_until:
                try:
                    await asyncio.wait_for(self._check(key, shared), seconds)
                except asyncio.TimeoutError:
                    raise shared.pool.exhausted(seconds) from None
            if not shared.pool.closed:  # by somebody else, meanwhile
                break
        if config is not None:
            shared.compare(config)
        if monotonic() < shared.healthy_until:
            REGISTRY.warm.setdefault(loop, {})[db_url] = shared
        return shared

    async def _open(
        self, key: PoolKey, target: Target, config: ConnectionPoolConfig | None
    ) -> SharedPool[VectorPool]:
        shared = REGISTRY.prepare(key, target, config)
        await reach_server_async(shared.policy, shared.config.connection_timeout)
        shared.pool = (VectorNullPool if shared.config.null_pool else VectorPool)(shared.policy)
        await shared.pool.open()
        shared.trust(key[1])
        REGISTRY.pools[key] = shared
        return shared

    async def _check(self, key: PoolKey, shared: SharedPool[VectorPool]) -> None:
        await self._checks.do(key, lambda: _check_health(shared))

    async def _warm_up(self, url: str, config: ConnectionPoolConfig | None) -> WarmupReport:
        started = perf_counter()
        connections = 0
        error: Exception | None = None
        try:
            pool = await self.get_connection_pool(url, config)
            await pool.wait(pool.config.connection_timeout)
            connections = pool.open_connections
        except (psycopg.Error, TypeError) as exc:
            error = exc
        return WarmupReport(display_name(url), connections, perf_counter() - started, error)

    async def _close(self, target_key: str | None, *, force: bool) -> bool:
        REGISTRY.drop_dead_loops()
        loop = get_running_loop()
        await self._openings.settled(lambda key: key[1] is loop and target_key in {None, key[0]})
        all_closed = True
        for taken in REGISTRY.take_closable(target_key, synchronous=False, force=force):
            if taken is None:
                all_closed = False
            else:
                (_, its_loop), shared = taken
                await _close_in_its_loop(shared.pool, its_loop)
        return all_closed


class _SharedLease(Lease):
    """A lease that finds its pool when it begins."""

    __slots__ = ("_config", "_manager", "_url")

    def __init__(
        self,
        manager: GlobalConnectionManager,
        url: str,
        config: ConnectionPoolConfig | None,
        timeout: float | None,
        label: str | None,
    ) -> None:
        super().__init__(timeout, label, None)
        self._manager = manager
        self._url = url
        self._config = config

    async def __aenter__(self) -> VectorConnection:
        manager = self._manager
        with manager._track_access():  # noqa: SLF001 - a part of the manager
            self.owner = task = asyncio.current_task()
            loop = get_running_loop() if task is None else task.get_loop()  # the latter is cheaper
            try:
                shared = manager._warm[loop][self._url]  # noqa: SLF001
            except KeyError:
                shared = None
            if shared is None or self._config is not None:
                began = monotonic()
                try:
                    shared = await manager._open_or_check(  # noqa: SLF001
                        self._url, self._config, self._timeout
                    )
                except PoolOpenError:
                    # A pool that is open comes back by itself: in the lease's time, or too late.
                    shared = REGISTRY.pools.get((Target.parse(self._url).key, loop))
                    if shared is None or shared.pool.closed:
                        raise
                if self._timeout is not None:
                    self._timeout = max(self._timeout - (monotonic() - began), 0)
            self._pool = shared.pool
            return await super().__aenter__()


async def _check_health(shared: SharedPool[VectorPool]) -> None:
    await shared.pool.check_health(shared.config.connection_timeout)
    shared.trust(get_running_loop())


async def _close_in_its_loop(pool: VectorPool, loop: asyncio.AbstractEventLoop | None) -> None:
    if loop is get_running_loop():
        await pool.close()
        return
    if loop is not None and loop.is_running():
        closing = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(pool.close(), loop))
        deadline = monotonic() + CLOSE_TIMEOUT
        while not closing.done() and loop.is_running() and monotonic() < deadline:
            await asyncio.wait({closing}, timeout=LOOK_AGAIN)
        if closing.done() and not closing.cancelled():
            closing.result()
            return
        if loop.is_running():
            logger.warning("pool %s is not closed: its event loop is blocked", pool.name)
            return
    pool.abandon()  # its loop has ended


def get_global_connection_manager() -> GlobalConnectionManager:
    """The process-wide manager."""
    return GlobalConnectionManager()


async def warmup_global_connection_pools(
    urls: Iterable[str], config: ConnectionPoolConfig | None = None, *, strict: bool = False
) -> list[WarmupReport]:
    """Opens pools before they are needed, see `GlobalConnectionManager.warmup_common_pools`."""
    manager = get_global_connection_manager()
    return await manager.warmup_common_pools(urls, config, strict=strict)


async def reset_global_connection_pools() -> None:
    """Closes all pools and starts afresh, see `GlobalConnectionManager.reset_all_pools`."""
    await get_global_connection_manager().reset_all_pools()
