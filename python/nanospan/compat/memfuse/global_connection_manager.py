"""Stands in for MemFuse's module ``memfuse_core.services.global_connection_manager``."""

# ruff: noqa: G004 - f-strings mean the same to loguru and to logging, placeholders do not

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

from nanospan import pool as _pool  # first, because its error says what to install

# isort: split
from pgvector.psycopg import register_vector_async
from psycopg_pool import AsyncConnectionPool

from nanospan.compat.memfuse.application_config import application_config, application_url
from nanospan.compat.memfuse.performance_monitor import PerformanceMonitor, get_performance_monitor
from nanospan.compat.memfuse.replaced_pools import ReplacedPool, ReplacedPools
from nanospan.compat.memfuse.rw_lock import AsyncRWLock
from nanospan.compat.memfuse.views import HealthCache, PoolView
from nanospan.pool import ConnectionPoolConfig, ConninfoError, mask_conninfo
from nanospan.pool.config import as_config
from nanospan.pool.connections import VectorConnection
from nanospan.pool.conninfo import Target
from nanospan.pool.registry import REGISTRY
from nanospan.pool.vector_pool import VectorPool
from nanospan.reentrant import LiveObjects
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterable

    from typing_extensions import Self

    from nanospan.pool.config import AnyConfig
    from nanospan.pool.shared_pool import SharedPool

__all__ = [
    "PSYCOPG_AVAILABLE",
    "AsyncConnectionPool",
    "AsyncRWLock",
    "ConnectionPoolConfig",
    "GlobalConnectionManager",
    "get_global_connection_manager",
    "get_performance_monitor",
    "register_vector_async",
    "reset_global_connection_pools",
    "warmup_global_connection_pools",
]

try:  # where MemFuse's own lines go, if it runs here
    from loguru import logger
except ImportError:
    logger = logging.getLogger("memfuse_core.services.global_connection_manager")

PSYCOPG_AVAILABLE = True
_ORIGINAL_POOL = AsyncConnectionPool
# Held only while one of several new instances is chosen. Re-entrant, for signal handlers.
_agreement = threading.RLock()


def _renew_agreement() -> None:
    global _agreement  # noqa: PLW0603 - a thread of the parent may hold the lock
    _agreement = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_agreement)


class GlobalConnectionManager:
    """The process's pool manager, with the private names and log lines of MemFuse's.

    Every instance shares its pools with ``nanospan.pool.get_global_connection_manager()``, whose
    other methods it has too. Setting ``GlobalConnectionManager._instance`` to ``None``, as tests
    do, makes the next call create an instance that has warmed up nothing.

    While ``AsyncConnectionPool`` in this module is patched, the manager makes its pools by calling
    what stands there, and keeps them to itself.
    """

    _instance: ClassVar[GlobalConnectionManager | None] = None
    _health_check_interval = 300.0

    def __new__(cls) -> Self:
        """Return the current instance, creating it if there is none."""
        if cls._instance is None:
            made = super().__new__(cls)
            made._set_up(_pool.get_global_connection_manager())
            with _agreement:
                cls._instance = cls._instance or made
        return cls._instance  # type: ignore[return-value]  # subclasses share the instance

    def _set_up(self, manager: _pool.GlobalConnectionManager) -> None:
        self._manager = manager
        self._warmup_completed = False
        self._replaced = ReplacedPools(self._configure_connection)
        self._configured: LiveObjects[Any] = LiveObjects()
        self._health_check_cache = HealthCache(self._shared_urls, self._find_shared)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that MemFuse's manager does not have, such as ``lease``."""
        return getattr(_pool.get_global_connection_manager(), name)

    @classmethod
    def get_instance(cls) -> Self:
        """Return the current instance."""
        return cls()

    async def get_connection_pool(
        self, db_url: str, config: AnyConfig | None = None, store_ref: object | None = None
    ) -> Any:
        """Return the running event loop's shared pool for a database.

        Args:
            db_url: A PostgreSQL URL or ``key=value`` pairs.
            config: Settings for a newly opened pool. If there are none, MemFuse's configuration
                applies, or else the process's default.
            store_ref: An object that uses the pool.

        Returns:
            An open pool; see ``nanospan.pool.GlobalConnectionManager.get_connection_pool``.
        """
        if AsyncConnectionPool is not _ORIGINAL_POOL:
            return await self._get_replaced_pool(db_url, config, store_ref)
        loop = asyncio.get_running_loop()
        if db_url in REGISTRY.warm.get(loop, {}) or self._is_open(db_url, loop):
            return await self._manager.get_connection_pool(db_url, config or None, store_ref)
        masked = self._mask_url(db_url)
        logger.info(f"GlobalConnectionManager: Creating new pool for {shorten(masked)}")
        settings = as_config(config) or application_config()
        pool = await self._manager.get_connection_pool(db_url, settings, store_ref)
        logger.info(
            "GlobalConnectionManager: Pool opened successfully "
            f"(min={pool.min_size}, max={pool.max_size})"
        )
        return pool

    async def _get_replaced_pool(
        self, db_url: str, config: AnyConfig | None, store_ref: object | None
    ) -> Any:
        track = self._performance_monitor.track_operation
        with track("connection_pool_access", {"db_url": self._mask_url(db_url)}):
            replaced = await self._replaced.find_or_open(AsyncConnectionPool, db_url, config)
            if store_ref is not None:
                replaced.references.add(store_ref)
            return replaced.pool

    async def warmup_common_pools(self, common_db_urls: Iterable[str] | None = None) -> None:
        """Open pools before they are needed; errors are logged.

        Args:
            common_db_urls: Connection strings. ``None`` means every open pool, and the database of
                MemFuse's configuration, or else of the environment.
        """
        if common_db_urls is None and (url := application_url()) is not None:
            common_db_urls = [*self._pools, *([] if url in self._pools else [url])]
        if AsyncConnectionPool is not _ORIGINAL_POOL:
            urls = list(common_db_urls or [])
            done = await asyncio.gather(*map(self._warmup_single_pool, urls))
        else:
            reports = await self._manager.warmup_common_pools(common_db_urls, application_config())
            done = [report.error is None for report in reports]
        logger.info(
            f"GlobalConnectionManager: Pool warmup completed - {sum(done)} successful, "
            f"{len(done) - sum(done)} failed"
        )
        self._warmup_completed = True

    async def _warmup_single_pool(self, db_url: str) -> bool:
        try:
            pool = await self.get_connection_pool(db_url)
            connection = await pool.getconn()
            try:
                await connection.execute("SELECT 1")
            finally:
                await pool.putconn(connection)
        except Exception as exc:  # noqa: BLE001 - one database must not keep others cold
            masked = self._mask_url(db_url)
            logger.warning(
                f"GlobalConnectionManager: Pool warmup failed for {shorten(masked)}: {exc}"
            )
            return False
        return True

    async def is_pool_healthy(self, pool: Any, db_url: str) -> bool:
        """Return True if ``pool`` can reach its server.

        A pool that no manager made is asked by a query, at most once in 5 minutes.
        """
        if isinstance(pool, VectorPool):
            return await self._manager.is_pool_healthy(pool, db_url)
        checked_at = self._health_check_cache.get(db_url, 0.0)
        if time.time() - checked_at < self._health_check_interval:
            return True
        try:
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
        except Exception as exc:  # noqa: BLE001 - the answer is whether it works
            masked = self._mask_url(db_url)
            logger.warning(
                f"GlobalConnectionManager: Health check failed for {shorten(masked)}: {exc}"
            )
            return False
        self._health_check_cache[db_url] = time.time()
        return True

    async def close_pool(self, db_url: str, force: bool = False) -> bool:
        """Close the pools for ``db_url``, except pools in use, which are closed with ``force``.

        Returns:
            False if a pool stays open because it is in use, otherwise True.
        """
        masked = self._mask_url(db_url)
        users = self._get_active_references(db_url)
        if db_url not in self._pools:
            logger.debug(f"GlobalConnectionManager: Pool for {shorten(masked)} not found")
        elif users and not force:
            logger.info(
                f"GlobalConnectionManager: Not closing pool for {shorten(masked)} - "
                f"{users} active references"
            )
        else:
            logger.info(f"GlobalConnectionManager: Closing pool for {shorten(masked)}")
        replaced_closed = await self._replaced.close([db_url], force=force)
        return await self._manager.close_pool(db_url, force) and replaced_closed

    async def close_all_pools(self, force: bool = False) -> bool:
        """Close every pool, except pools in use, which are closed only with ``force``.

        Returns:
            False if a pool stays open because it is in use, otherwise True.
        """
        logger.info("GlobalConnectionManager: Closing all connection pools...")
        replaced_closed = await self._replaced.close(list(self._replaced), force=force)
        all_closed = await self._manager.close_all_pools(force) and replaced_closed
        logger.info("GlobalConnectionManager: All connection pools closed")
        return all_closed

    async def reset_all_pools(self) -> None:
        """Close every pool, even pools in use, and forget what is known about databases."""
        logger.info("GlobalConnectionManager: Resetting all connection pools...")
        await self._replaced.close(list(self._replaced), force=True)
        await self._manager.reset_all_pools()
        self._health_check_cache.clear()
        self._warmup_completed = False
        logger.info("GlobalConnectionManager: All connection pools reset successfully")

    def get_pool_statistics(self) -> dict[str, dict[str, Any]]:
        """Return the settings, state and counters of every pool, keyed by masked URL."""
        replaced = {self._mask_url(url): p.statistics() for url, p in self._replaced.items()}
        return {**replaced, **self._manager.get_pool_statistics()}

    @property
    def _performance_monitor(self) -> PerformanceMonitor:
        return get_performance_monitor()

    @property
    def _pools(self) -> PoolView[Any]:
        return PoolView(self._urls, self._find, lambda known: known.pool)

    @property
    def _warm_pools(self) -> PoolView[Any]:
        return PoolView(
            lambda: list(self._health_check_cache),
            lambda url: self._find_shared(url) if url in self._health_check_cache else None,
            lambda shared: shared.pool,
        )

    @property
    def _pool_configs(self) -> PoolView[ConnectionPoolConfig]:
        return PoolView(self._urls, self._find, lambda known: known.config)

    @property
    def _store_references(self) -> PoolView[tuple[weakref.ref[object], ...]]:
        return PoolView(
            self._urls,
            self._find,
            lambda known: tuple(known.references._by_id.values()),  # noqa: SLF001 - a view of it
        )

    def _get_active_references(self, db_url: str) -> int:
        return len(self._store_references.get(db_url, ()))

    def _mask_url(self, db_url: str) -> str:
        return mask_conninfo(db_url)

    async def _configure_connection(self, conn: Any) -> None:
        """Register pgvector's types on a connection that does not have them yet."""
        if isinstance(conn, VectorConnection) or conn in self._configured:
            return
        conn_info = self._mask_url(str(conn.info.dsn))
        track = self._performance_monitor.track_operation
        try:
            async with track("pgvector_registration", {"conn_info": conn_info}):
                await register_vector_async(conn)
        except Exception as exc:  # noqa: BLE001 - the connection works without vectors
            logger.warning(
                f"GlobalConnectionManager: Failed to register pgvector on {conn_info}: {exc}"
            )
        else:
            self._configured.add(conn)
            self._health_check_cache[conn_info] = time.time()

    def _urls(self) -> list[str]:
        return [*self._replaced, *self._shared_urls()]

    def _find(self, db_url: str) -> SharedPool[Any] | ReplacedPool | None:
        return self._replaced.get(db_url) or self._find_shared(db_url)

    def _is_open(self, db_url: str, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether the event loop has an open pool for a database."""
        try:
            target_key = Target.parse(db_url).key
        except ConninfoError:
            return False
        shared = REGISTRY.pools.get((target_key, loop))
        return shared is not None and not shared.pool.closed

    def _shared_urls(self) -> list[str]:
        REGISTRY.drop_dead_loops()
        urls = {
            target_key: shared.endpoint.target.conninfo
            for (target_key, loop), shared in REGISTRY.pools.items()
            if loop is not None
        }
        return list(urls.values())

    def _find_shared(self, db_url: str) -> SharedPool[Any] | None:
        """Return the pool of the running event loop, or else of any, or None."""
        try:
            wanted = Target.parse(db_url).key
        except ConninfoError:
            return None
        REGISTRY.drop_dead_loops()
        by_loop = {
            loop: shared
            for (target_key, loop), shared in REGISTRY.pools.items()
            if target_key == wanted and loop is not None
        }
        running = asyncio._get_running_loop()  # noqa: SLF001 - the public function raises if none
        if running in by_loop:
            return by_loop[running]
        return next(iter(by_loop.values()), None)


def get_global_connection_manager() -> GlobalConnectionManager:
    """Return the current instance of the manager."""
    return GlobalConnectionManager()


async def warmup_global_connection_pools(common_db_urls: Iterable[str] | None = None) -> None:
    """Open pools before first use; see ``GlobalConnectionManager.warmup_common_pools``."""
    await get_global_connection_manager().warmup_common_pools(common_db_urls)


async def reset_global_connection_pools() -> None:
    """Close all pools; see ``GlobalConnectionManager.reset_all_pools``."""
    await get_global_connection_manager().reset_all_pools()
