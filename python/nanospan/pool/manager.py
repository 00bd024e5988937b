"""The process-wide manager of asynchronous connection pools."""

from __future__ import annotations

import asyncio
import logging
from asyncio import get_running_loop
from time import monotonic
from typing import TYPE_CHECKING

from nanospan.pool.conninfo import Target
from nanospan.pool.errors import PoolOpenError
from nanospan.pool.lease import Lease
from nanospan.pool.manager_base import PoolManager
from nanospan.pool.null_pools import VectorNullPool
from nanospan.pool.opening import reach_server_async
from nanospan.pool.registry import REGISTRY, PoolKey, check_config
from nanospan.pool.tasks import SingleFlight
from nanospan.pool.vector_pool import VectorPool
from nanospan.pool.warmup import Warmup, WarmupReport, check_urls, conclude
from nanospan.recorder import process_recorder

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
LOOP_CHECK_INTERVAL = 0.1
"""Seconds between checks of whether the other thread's event loop is still running."""
REGISTRATION_THRESHOLD = 0.050
"""Default threshold, in seconds, for the duration of a look-up of pgvector's types."""


class GlobalConnectionManager(PoolManager[VectorPool]):
    """Process-wide manager that shares one asynchronous pool per event loop and database URL.

    A singleton: constructing it again returns the same object and changes nothing. URLs that spell
    the same parameters differently share a pool. The methods may be called from any thread and
    event loop; a pool must be used in the loop that requested it. A forked child process starts
    without pools.
    """

    kind = "async"

    @classmethod
    def get_instance(cls) -> GlobalConnectionManager:
        """Return the singleton instance."""
        return cls()

    def _set_up(self) -> None:
        super()._set_up()
        recorder = process_recorder()
        if "pgvector_registration" not in recorder.thresholds:
            recorder.set_threshold("pgvector_registration", REGISTRATION_THRESHOLD)

    def _forget_openings(self) -> None:
        self._openings: SingleFlight[PoolKey, SharedPool[VectorPool]] = SingleFlight()
        self._checks: SingleFlight[PoolKey, None] = SingleFlight()

    async def get_connection_pool(
        self,
        db_url: str,
        config: ConnectionPoolConfig | None = None,
        store_ref: object | None = None,
    ) -> VectorPool:
        """Return the running event loop's shared pool for a database.

        The first call opens the pool. Each call is timed as ``connection_pool_access``.

        Args:
            db_url: A PostgreSQL URL or ``key=value`` pairs.
            config: Settings for a newly opened pool. A pool that is already open keeps its own
                settings; a warning is logged if they differ.
            store_ref: An object that uses the pool. While this object is alive, ``close_pool``
                closes the pool only with ``force``.

        Returns:
            An open ``psycopg_pool.AsyncConnectionPool``. Do not close it: it is shared.

        Raises:
            PoolOpenError: If the server refuses the connection, or does not answer within
                ``connection_timeout``.
            ConninfoError: If ``db_url`` is not a valid connection string.
            TypeError: If ``store_ref`` cannot be weakly referenced, or ``config`` is not a
                ConnectionPoolConfig.
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
        """Lease a connection from a shared pool: ``async with manager.lease(url) as connection:``.

        Opens the pool on first use. The transaction is committed at the end of the block, or rolled
        back if the block raises an exception. The wait for the connection is timed as
        ``connection_pool_access``, and the block as ``connection_lease``.

        Args:
            db_url: A PostgreSQL URL or ``key=value`` pairs.
            label: Name of the lease in statistics, errors and the log.
            config: Settings for a newly opened pool; see ``get_connection_pool``.
            timeout: Seconds to wait for a connection from an open pool, including the pool's health
                check; ``None`` for the pool's ``timeout``. Opening a pool may take up to
                ``connection_timeout``, even if ``timeout`` is shorter.

        Returns:
            A context manager that can be used once. Entering it raises ``PoolExhausted`` if no
            connection becomes available in time, and can raise the exceptions that
            ``get_connection_pool`` raises.
        """
        return _SharedLease(self, db_url, config, timeout, label)

    async def warmup_common_pools(
        self,
        urls: Iterable[str],
        config: ConnectionPoolConfig | None = None,
        *,
        strict: bool = False,
    ) -> list[WarmupReport]:
        """Open the pools for ``urls`` concurrently, each with ``min_size`` connections.

        Args:
            urls: Connection strings.
            config: Settings for pools that are not open yet.
            strict: Whether to raise the first error once all warm-ups have finished.

        Returns:
            One report per URL, in the order of ``urls``. Errors are logged and included in the
            reports.

        Raises:
            TypeError: If ``urls`` is a single string.
            PoolOpenError: With ``strict``, if a server refuses the connection or does not answer in
                time.
            PoolTimeout: With ``strict``, if a pool does not reach ``min_size`` connections within
                ``connection_timeout``; the pool stays open.
        """
        warming = (self._warm_up(url, config) for url in check_urls(urls))
        return conclude(list(await asyncio.gather(*warming)), strict=strict)

    async def is_pool_healthy(self, pool: VectorPool, url: str) -> bool:
        """Return True if ``pool`` is open and can reach its server.

        Call this in the event loop that the pool belongs to. The server is not asked
        for ``health_check_interval`` seconds after a successful check, unless a lease times out or
        a broken connection is returned in the meantime.

        Args:
            pool: The pool, as returned by ``get_connection_pool``.
            url: The pool's connection string.

        Returns:
            ``False`` if the pool is closed, is not the running event loop's pool for ``url``, or
            cannot reach its server.
        """
        key = (Target.parse(url).key, get_running_loop())
        shared = self._find(*key)
        if shared is None or shared.pool is not pool:
            return False
        if monotonic() < shared.healthy_until:
            return True
        try:
            await self._check_pool(key, shared)
        except PoolOpenError as exc:
            logger.warning("pool is not healthy: %s", exc)
            return False
        return True

    async def close_pool(self, url: str, force: bool = False) -> bool:
        """Close the asynchronous pools for ``url`` in all event loops, except pools in use.

        A pool is in use while an object that was passed to ``get_connection_pool`` as
        ``store_ref`` is alive.

        Args:
            url: A connection string.
            force: Whether to also close pools that are in use.

        Returns:
            False if a pool for ``url`` stays open because it is in use, otherwise True.
        """
        return await self._close(Target.parse(url).key, force=force)

    async def close_all_pools(self, force: bool = False) -> bool:
        """Close every asynchronous pool, except pools in use.

        A pool is in use while an object that was passed to ``get_connection_pool`` as
        ``store_ref`` is alive.

        Args:
            force: Whether to also close pools that are in use.

        Returns:
            False if an asynchronous pool stays open because it is in use, otherwise True.
        """
        return await self._close(None, force=force)

    async def reset_all_pools(self) -> None:
        """Close all asynchronous pools, even pools in use, and forget all known pgvector types."""
        await self.close_all_pools(force=True)
        REGISTRY.types.clear()

    async def resize_pool(self, url: str, min_size: int, max_size: int) -> bool:
        """Resize the running event loop's pool for ``url``; see ``VectorPool.resize``.

        Args:
            url: The pool's connection string.
            min_size: Number of connections to keep open.
            max_size: Maximum number of open connections.

        Returns:
            True if the pool was resized, False if there is no open pool for ``url``.

        Raises:
            ValueError: If the sizes are not integers or are out of range.
        """
        shared = self._find(Target.parse(url).key, get_running_loop())
        if shared is None:
            return False
        await shared.pool.resize(min_size, max_size)
        return True

    async def _open_or_check(
        self, db_url: str, config: ConnectionPoolConfig | None, seconds: float | None = None
    ) -> SharedPool[VectorPool]:
        """Return the shared pool for a database; if necessary, open it or check its health first.

        Raises:
            PoolExhausted: If checking an open pool takes longer than ``seconds``.
        """
        check_config(config)
        REGISTRY.drop_dead_loops()
        loop = get_running_loop()
        target = Target.parse(db_url)
        key = (target.key, loop)
        while True:
            shared = self._find(*key)
            if shared is None:
                shared = await self._openings.do(key, lambda: self._open_pool(key, target, config))
            elif monotonic() >= shared.healthy_until:
                try:
                    await asyncio.wait_for(self._check_pool(key, shared), seconds)
                except asyncio.TimeoutError:
                    raise shared.pool.exhausted(seconds) from None
            if not shared.pool.closed:  # another task may have closed it meanwhile
                break
        if config is not None:
            shared.compare(config)
        if monotonic() < shared.healthy_until:
            self._warm.setdefault(loop, {})[db_url] = shared
        return shared

    async def _open_pool(
        self, key: PoolKey, target: Target, config: ConnectionPoolConfig | None
    ) -> SharedPool[VectorPool]:
        shared: SharedPool[VectorPool] = REGISTRY.prepare(key, target, config)
        await reach_server_async(shared.endpoint, shared.config.connection_timeout)
        kind = VectorNullPool if shared.config.null_pool else VectorPool
        shared.pool = kind(shared.endpoint, shared.distrust)
        await shared.pool.open()
        shared.trust(key[1])
        REGISTRY.pools[key] = shared
        return shared

    async def _check_pool(self, key: PoolKey, shared: SharedPool[VectorPool]) -> None:
        await self._checks.do(key, lambda: _check_health(shared))

    async def _warm_up(self, url: str, config: ConnectionPoolConfig | None) -> WarmupReport:
        with Warmup(url) as warmup:
            pool = await self.get_connection_pool(url, config)
            await pool.wait(pool.config.connection_timeout)
            warmup.connections = pool.open_connections
        return warmup.report

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
    """A lease that finds or opens its shared pool when its ``async with`` block is entered."""

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
                    # An open pool reconnects in the background, maybe before the lease times out.
                    shared = manager._find(Target.parse(self._url).key, loop)  # noqa: SLF001
                    if shared is None:
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
            await asyncio.wait({closing}, timeout=LOOP_CHECK_INTERVAL)
        if closing.done() and not closing.cancelled():
            closing.result()
            return
        if loop.is_running():
            logger.warning("pool %s could not be closed: its event loop is blocked", pool.name)
            return
    pool.abandon()  # its loop is not running


def get_global_connection_manager() -> GlobalConnectionManager:
    """Return the process-wide manager of asynchronous pools."""
    return GlobalConnectionManager()


async def warmup_global_connection_pools(
    urls: Iterable[str], config: ConnectionPoolConfig | None = None, *, strict: bool = False
) -> list[WarmupReport]:
    """Open pools before first use; see ``GlobalConnectionManager.warmup_common_pools``."""
    manager = get_global_connection_manager()
    return await manager.warmup_common_pools(urls, config, strict=strict)


async def reset_global_connection_pools() -> None:
    """Close all asynchronous pools and forget the pgvector types of all databases.

    See ``GlobalConnectionManager.reset_all_pools``.
    """
    await get_global_connection_manager().reset_all_pools()
