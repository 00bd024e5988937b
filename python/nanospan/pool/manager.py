"""The process-wide manager of asynchronous connection pools."""

from __future__ import annotations

import asyncio
import logging
from asyncio import current_task, get_running_loop
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from nanospan.pool.closing import close_in_its_loop
from nanospan.pool.config import as_config
from nanospan.pool.conninfo import Target
from nanospan.pool.endpoint import call_async
from nanospan.pool.errors import PoolOpenError
from nanospan.pool.lease import Lease
from nanospan.pool.manager_base import PoolManager
from nanospan.pool.null_pools import VectorNullPool
from nanospan.pool.opening import reach_server_async
from nanospan.pool.registry import REGISTRY, PoolKey
from nanospan.pool.tasks import SingleFlight
from nanospan.pool.vector_pool import VectorPool
from nanospan.pool.warmup import Warmup, WarmupReport, conclude
from nanospan.recorder import process_recorder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import AsyncConnection
    from typing_extensions import Unpack

    from nanospan.pool.config import AnyConfig, ConnectionPoolConfig, SharedPoolSettings
    from nanospan.pool.connections import VectorConnection
    from nanospan.pool.conninfo import Conninfo
    from nanospan.pool.shared_pool import SharedPool

__all__ = [
    "GlobalConnectionManager",
    "get_global_connection_manager",
    "reset_global_connection_pools",
    "warmup_global_connection_pools",
]

logger = logging.getLogger("nanospan.pool")

AnyPool: TypeAlias = "VectorPool[AsyncConnection[Any]]"

REGISTRATION_THRESHOLD = 0.050
"""Default threshold, in seconds, for the duration of a look-up of pgvector's types."""


class GlobalConnectionManager(PoolManager[AnyPool]):
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
        self._openings: SingleFlight[PoolKey, SharedPool[AnyPool]] = SingleFlight()
        self._checks: SingleFlight[PoolKey, None] = SingleFlight()

    async def get_connection_pool(
        self,
        db_url: Conninfo,
        config: AnyConfig | None = None,
        store_ref: object | None = None,
        **settings: Unpack[SharedPoolSettings],
    ) -> VectorPool[AsyncConnection[Any]]:
        """Return the running event loop's shared pool for a database.

        The first call opens the pool. Each call is timed as ``connection_pool_access``.

        Args:
            db_url: A PostgreSQL URL or ``key=value`` pairs, or a function that returns one of them
                for each new connection, such as one with a password that changes. The function may
                be asynchronous. Functions whose connection strings differ only in their secrets
                share a pool.
            config: Settings for a newly opened pool: a ``ConnectionPoolConfig`` or a mapping that
                ``ConnectionPoolConfig.from_memfuse_config`` can read. ``None``, or a mapping
                without pool settings, means the process's default; see ``set_default_config``. A
                pool that is already open keeps its settings; a warning is logged if they differ.
            store_ref: An object that uses the pool. While this object is alive, ``close_pool``
                closes the pool only with ``force``.
            **settings: Fields of ``ConnectionPoolConfig``, which take precedence over ``config``.

        Returns:
            An open ``psycopg_pool.AsyncConnectionPool``. Do not close it: it is shared.

        Raises:
            PoolOpenError: If the server refuses the connection, or does not answer within
                ``connection_timeout``; not with ``open="lazily"``.
            ConninfoError: If ``db_url`` is not a valid connection string.
            TypeError: If ``store_ref`` cannot be weakly referenced, ``config`` is neither a
                mapping nor a ConnectionPoolConfig, or a setting is unknown.
            ValueError: If a setting in ``config`` or in the environment is invalid.
        """
        if settings:
            config = as_config(config, settings)
        try:
            shared = self._warm[get_running_loop()][db_url]
        except KeyError:
            shared = None
        with self._track_access(shared.access if shared else self._new_access(db_url)):
            if shared is None or (config is not None and config is not shared.requested):
                shared = await self._open_or_check(db_url, config)
            if store_ref is not None:
                shared.references.add(store_ref)
            return shared.pool

    def lease(
        self,
        db_url: Conninfo,
        label: str | None = None,
        *,
        config: AnyConfig | None = None,
        timeout: float | None = None,
    ) -> Lease:
        """Lease a connection from a shared pool: ``async with manager.lease(url) as connection:``.

        Opens the pool on first use. The transaction is committed at the end of the block, or rolled
        back if the block raises an exception. The wait for the connection is timed as
        ``connection_pool_access``, and the block as ``connection_lease``.

        Args:
            db_url: A connection string, or a function that returns one; see
                ``get_connection_pool``.
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
        common_db_urls: Iterable[Conninfo] | None = None,
        config: AnyConfig | None = None,
        *,
        strict: bool = False,
    ) -> list[WarmupReport]:
        """Open pools concurrently, each with ``min_size`` connections; a second time is cheap.

        Args:
            common_db_urls: Connection strings. ``None`` means the running event loop's open pools,
                and the database that the environment names, if any: by ``DATABASE_URL``; else by
                ``POSTGRES_DB`` with ``POSTGRES_HOST`` (``localhost``), ``_PORT`` (5432), ``_USER``
                (``postgres``) and ``_PASSWORD``; else by ``PGSERVICE`` or ``PGDATABASE``.
            config: Settings for pools that are not open yet; see ``get_connection_pool``.
            strict: Whether to raise the first error once all warm-ups have finished.

        Returns:
            One report per URL, in their order. Errors are logged and included in the reports.

        Raises:
            TypeError: If ``common_db_urls`` is a single string, or ``config`` is neither a mapping
                nor a ConnectionPoolConfig.
            ValueError: If a setting in ``config`` or in the environment is invalid.
            PoolOpenError: With ``strict``, if a server refuses the connection or does not answer in
                time.
            PoolTimeout: With ``strict``, if a pool does not reach ``min_size`` connections within
                ``connection_timeout``; the pool stays open.
        """
        urls = self._urls_to_warm(common_db_urls, get_running_loop())
        wanted = as_config(config)
        warming = (self._warm_up(url, wanted) for url in urls)
        return conclude(list(await asyncio.gather(*warming)), strict=strict)

    async def is_pool_healthy(self, pool: AnyPool, db_url: Conninfo) -> bool:
        """Return True if ``pool`` is open and can reach its server.

        Call this in the event loop that the pool belongs to. The server is not asked
        for ``health_check_interval`` seconds after a successful check, unless a lease times out or
        a broken connection is returned in the meantime.

        Args:
            pool: The pool, as returned by ``get_connection_pool``.
            db_url: The pool's connection string.

        Returns:
            ``False`` if the pool is closed, is not the running event loop's pool for ``db_url``, or
            cannot reach its server.
        """
        key = ((await _target(db_url)).key, get_running_loop())
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

    async def close_pool(self, db_url: Conninfo, force: bool = False) -> bool:
        """Close the asynchronous pools for ``db_url`` in all event loops, except pools in use.

        A pool is in use while an object that was passed to ``get_connection_pool`` as
        ``store_ref`` is alive.

        Args:
            db_url: A connection string.
            force: Whether to also close pools that are in use.

        Returns:
            False if a pool for ``db_url`` stays open because it is in use, otherwise True.
        """
        return await self._close((await _target(db_url)).key, force=force)

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

    async def resize_pool(self, db_url: Conninfo, min_size: int, max_size: int) -> bool:
        """Resize the running event loop's pool for ``db_url``; see ``VectorPool.resize``.

        Args:
            db_url: The pool's connection string.
            min_size: Number of connections to keep open.
            max_size: Maximum number of open connections.

        Returns:
            True if the pool was resized, False if there is no open pool for ``db_url``.

        Raises:
            ValueError: If the sizes are not integers or are out of range.
        """
        shared = self._find((await _target(db_url)).key, get_running_loop())
        if shared is None:
            return False
        await shared.pool.resize(min_size, max_size)
        return True

    async def _open_or_check(
        self, db_url: Conninfo, config: AnyConfig | None, seconds: float | None = None
    ) -> SharedPool[AnyPool]:
        """Return the shared pool for a database; if necessary, open it or check its health first.

        Raises:
            PoolExhausted: If checking an open pool takes longer than ``seconds``.
        """
        wanted = as_config(config)
        REGISTRY.drop_dead_loops()
        loop = get_running_loop()
        target = await _target(db_url)
        key = (target.key, loop)
        while True:
            shared = self._find(*key)
            if shared is None:
                shared = await self._openings.do(
                    key, lambda: self._open_pool(key, target, wanted, db_url)
                )
            elif monotonic() >= shared.healthy_until and shared.config.open == "eagerly":
                try:
                    await asyncio.wait_for(self._check_pool(key, shared), seconds)
                except asyncio.TimeoutError:
                    raise shared.pool.exhausted(seconds) from None
            if not shared.pool.closed:  # another task may have closed it meanwhile
                break
        if wanted is not None:
            shared.compare(wanted)
        if config is not None:
            shared.requested = config
        if monotonic() < shared.healthy_until or shared.config.open == "lazily":
            self._warm.setdefault(loop, {})[db_url] = shared
        return shared

    async def _open_pool(
        self,
        key: PoolKey,
        target: Target,
        config: ConnectionPoolConfig | None,
        conninfo: Conninfo,
    ) -> SharedPool[AnyPool]:
        shared: SharedPool[AnyPool] = REGISTRY.prepare(key, target, config, conninfo)
        kind: type[AnyPool] = VectorNullPool if shared.config.null_pool else VectorPool
        shared.pool = kind.shared(shared.endpoint, shared.distrust)
        if shared.config.open == "eagerly":
            await reach_server_async(shared.endpoint, shared.config.connection_timeout)
        await shared.pool.open()
        shared.trust(key[1])
        if (used := REGISTRY.publish(key, shared)) is not shared:
            await shared.pool.close()
        return used

    async def _check_pool(self, key: PoolKey, shared: SharedPool[AnyPool]) -> None:
        await self._checks.do(key, lambda: _check_health(shared))

    async def _warm_up(self, url: Conninfo, config: ConnectionPoolConfig | None) -> WarmupReport:
        with Warmup(url) as warmup:
            pool = await self.get_connection_pool(url, config)
            await pool.fill(pool.config.connection_timeout)
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
                await close_in_its_loop(shared.pool, its_loop)
        return all_closed


class _SharedLease(Lease):
    """A lease that finds or opens its shared pool when its ``async with`` block is entered."""

    __slots__ = ("_config", "_manager", "_url")

    def __init__(
        self,
        manager: GlobalConnectionManager,
        url: Conninfo,
        config: AnyConfig | None,
        timeout: float | None,
        label: str | None,
    ) -> None:
        super().__init__(timeout, label, None)
        self._manager = manager
        self._url = url
        self._config = config

    async def __aenter__(self) -> VectorConnection:
        manager = self._manager
        config = self._config
        loop = get_running_loop()
        self.owner = current_task(loop)  # cheaper than if it had to find the loop itself
        try:
            shared = manager._warm[loop][self._url]  # noqa: SLF001 - a part of the manager
        except KeyError:
            shared = None
        access = shared.access if shared else manager._new_access(self._url)  # noqa: SLF001
        with manager._track_access(access):  # noqa: SLF001
            if shared is None or (config is not None and config is not shared.requested):
                began = monotonic()
                try:
                    shared = await manager._open_or_check(self._url, config, self._timeout)  # noqa: SLF001
                except PoolOpenError:
                    # An open pool reconnects in the background, maybe before the lease times out.
                    target = await _target(self._url)
                    shared = manager._find(target.key, loop)  # noqa: SLF001 - as above
                    if shared is None:
                        raise
                if self._timeout is not None:
                    self._timeout = max(self._timeout - (monotonic() - began), 0)
            self._pool = shared.pool
            return await super().__aenter__()


async def _target(conninfo: Conninfo) -> Target:
    """Return the target of a connection string, or of the one that a function returns now."""
    target = Target.parse(await call_async(conninfo))
    return target.rotating() if callable(conninfo) else target


async def _check_health(shared: SharedPool[AnyPool]) -> None:
    await shared.pool.check_health(shared.config.connection_timeout)
    shared.trust(get_running_loop())


def get_global_connection_manager() -> GlobalConnectionManager:
    """Return the process-wide manager of asynchronous pools."""
    return GlobalConnectionManager()


async def warmup_global_connection_pools(
    common_db_urls: Iterable[Conninfo] | None = None,
    config: AnyConfig | None = None,
    *,
    strict: bool = False,
) -> list[WarmupReport]:
    """Open pools before first use; see ``GlobalConnectionManager.warmup_common_pools``."""
    manager = get_global_connection_manager()
    return await manager.warmup_common_pools(common_db_urls, config, strict=strict)


async def reset_global_connection_pools() -> None:
    """Close all asynchronous pools and forget the pgvector types of all databases.

    See ``GlobalConnectionManager.reset_all_pools``.
    """
    await get_global_connection_manager().reset_all_pools()
