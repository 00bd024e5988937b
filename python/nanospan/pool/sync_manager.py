"""The process-wide manager of synchronous connection pools."""

from __future__ import annotations

import atexit
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import psycopg

from nanospan import get_performance_monitor
from nanospan.pool.conninfo import Target
from nanospan.pool.lease import SyncLease
from nanospan.pool.null_pools import SyncVectorNullPool
from nanospan.pool.opening import reach_server
from nanospan.pool.registry import REGISTRY, PoolKey, check_config
from nanospan.pool.sync_vector_pool import SyncVectorPool
from nanospan.pool.warmup import WarmupReport, check_urls, conclude, display_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.connections import SyncVectorConnection
    from nanospan.pool.shared_pool import SharedPool

__all__ = ["SyncConnectionManager", "get_sync_connection_manager"]

AT_EXIT = 1.0
"""Seconds that each pool may take to close at the end of the interpreter."""


class SyncConnectionManager:
    """`GlobalConnectionManager` for programs without an event loop: a pool per process and URL.

    A singleton. Shares settings, the types of databases and statistics with the asynchronous one;
    its methods do what theirs do, and may be called from any thread. Not to be used inside an
    event loop, which it would hold up. Its pools are closed when the interpreter ends.
    """

    _instance: SyncConnectionManager | None = None
    _creation = threading.Lock()

    def __new__(cls) -> SyncConnectionManager:  # noqa: PYI034 - one instance for all subclasses
        """The one instance, made by the first caller."""
        with cls._creation:
            if SyncConnectionManager._instance is None:
                instance = super().__new__(cls)
                instance._set_up()
                SyncConnectionManager._instance = instance
            return SyncConnectionManager._instance

    def _set_up(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_to_parent)
        atexit.register(self._close_at_exit)
        monitor = get_performance_monitor()
        monitor.add_source(REGISTRY.measurements)
        self._access = monitor.operation("connection_pool_access")

    def _begin(self) -> None:
        self._attending: dict[str, threading.Lock] = {}

    def _leave_to_parent(self) -> None:
        SyncConnectionManager._creation = threading.Lock()
        self._begin()

    def get_connection_pool(
        self,
        db_url: str,
        config: ConnectionPoolConfig | None = None,
        store_ref: object | None = None,
    ) -> SyncVectorPool:
        """The shared pool of a database, see `GlobalConnectionManager.get_connection_pool`.

        Returns:
            An open `psycopg_pool.ConnectionPool`. Do not close it; others use it.

        Raises:
            PoolOpenError: If the server does not answer within `connection_timeout`, or refuses.
            ConninfoError: If `db_url` cannot be read.
            TypeError: If `store_ref` cannot be weakly referenced, or `config` is something else.
        """
        with self._access.track():
            shared = self._shared(db_url, config)
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
    ) -> SyncLease:
        """Leases a connection: `with manager.lease(url) as connection:`.

        See `GlobalConnectionManager.lease`.
        """
        return _SharedLease(self, db_url, config, timeout, label)

    def warmup_common_pools(
        self,
        urls: Iterable[str],
        config: ConnectionPoolConfig | None = None,
        *,
        strict: bool = False,
    ) -> list[WarmupReport]:
        """Opens pools before they are needed, see `GlobalConnectionManager.warmup_common_pools`."""
        every = check_urls(urls)
        with ThreadPoolExecutor(max(len(every), 1), "nanospan-warmup") as threads:
            reports = list(threads.map(lambda url: self._warm_up(url, config), every))
        return conclude(reports, strict=strict)

    def is_pool_healthy(self, pool: SyncVectorPool, url: str) -> bool:
        """Whether a pool works, see `GlobalConnectionManager.is_pool_healthy`."""
        shared = REGISTRY.pools.get((Target.parse(url).key, None))
        if shared is None or shared.pool is not pool or pool.closed:
            return False
        with suppress(psycopg.OperationalError):
            self._shared(url, None)
            return True
        return False

    def resize_pool(self, url: str, min_size: int, max_size: int) -> bool:
        """Changes the sizes of a pool, see `GlobalConnectionManager.resize_pool`."""
        shared = REGISTRY.pools.get((Target.parse(url).key, None))
        if shared is None or shared.pool.closed:
            return False
        shared.pool.resize(min_size, max_size)
        return True

    def close_pool(self, url: str, force: bool = False) -> bool:
        """Closes the pool of a URL unless objects that use it are alive.

        Returns:
            Whether no pool of that URL is left open.
        """
        return self._close(Target.parse(url).key, force=force)

    def close_all_pools(self, force: bool = False) -> bool:
        """Closes every synchronous pool that is not in use by a living `store_ref`.

        Returns:
            Whether none is left open.
        """
        return self._close(None, force=force)

    def reset_all_pools(self) -> None:
        """Closes every synchronous pool, and forgets all that was learnt about databases."""
        self.close_all_pools(force=True)
        REGISTRY.types.clear()

    def get_pool_statistics(self) -> dict[str, dict[str, Any]]:
        """Of every pool of the process, see `GlobalConnectionManager.get_pool_statistics`."""
        return REGISTRY.statistics()

    def _shared(
        self, db_url: str, config: ConnectionPoolConfig | None
    ) -> SharedPool[SyncVectorPool]:
        shared = REGISTRY.warm.get(None, {}).get(db_url)
        if (
            shared is None
            or monotonic() >= shared.healthy_until
            or (config is not None and config is not shared.config)
        ):
            shared = self._open_or_check(db_url, config)
        return shared

    def _open_or_check(
        self, db_url: str, config: ConnectionPoolConfig | None
    ) -> SharedPool[SyncVectorPool]:
        check_config(config)
        target = Target.parse(db_url)
        key = (target.key, None)
        shared: SharedPool[SyncVectorPool] | None = None
        while shared is None or shared.pool.closed:  # by somebody else, meanwhile
            # One at a time for each pool; who waited finds it open or healthy.
            with self._attending.setdefault(target.key, threading.Lock()):
                shared = REGISTRY.pools.get(key)
                if shared is None or shared.pool.closed:
                    shared = self._open(key, target, config)
                elif monotonic() >= shared.healthy_until:
                    shared.pool.check_health(shared.config.connection_timeout)
                    shared.trust()
        if config is not None:
            shared.compare(config)
        REGISTRY.warm.setdefault(None, {})[db_url] = shared
        return shared

    def _open(
        self, key: PoolKey, target: Target, config: ConnectionPoolConfig | None
    ) -> SharedPool[SyncVectorPool]:
        shared = REGISTRY.prepare(key, target, config)
        reach_server(shared.policy, shared.config.connection_timeout)
        kind = SyncVectorNullPool if shared.config.null_pool else SyncVectorPool
        shared.pool = kind(shared.policy)
        shared.pool.open()
        shared.trust()
        REGISTRY.pools[key] = shared
        return shared

    def _warm_up(self, url: str, config: ConnectionPoolConfig | None) -> WarmupReport:
        started = perf_counter()
        connections = 0
        error: Exception | None = None
        try:
            pool = self.get_connection_pool(url, config)
            pool.wait(pool.config.connection_timeout)
            connections = pool.open_connections
        except (psycopg.Error, TypeError) as exc:
            error = exc
        return WarmupReport(display_name(url), connections, perf_counter() - started, error)

    def _close(self, target_key: str | None, *, force: bool, seconds: float = 5.0) -> bool:
        all_closed = True
        for taken in REGISTRY.take_closable(target_key, synchronous=True, force=force):
            if taken is None:
                all_closed = False
            else:
                taken[1].pool.close(seconds)
        return all_closed

    def _close_at_exit(self) -> None:
        self._close(None, force=True, seconds=AT_EXIT)


class _SharedLease(SyncLease):
    """A lease that finds its pool when it begins."""

    __slots__ = ("_config", "_manager", "_url")

    def __init__(
        self,
        manager: SyncConnectionManager,
        url: str,
        config: ConnectionPoolConfig | None,
        timeout: float | None,
        label: str | None,
    ) -> None:
        super().__init__(timeout, label, None)
        self._manager = manager
        self._url = url
        self._config = config

    def __enter__(self) -> SyncVectorConnection:
        manager = self._manager
        with manager._access.track():  # noqa: SLF001 - a part of the manager
            self._pool = manager._shared(self._url, self._config).pool  # noqa: SLF001
            return super().__enter__()


def get_sync_connection_manager() -> SyncConnectionManager:
    """The process-wide manager of synchronous pools."""
    return SyncConnectionManager()
