"""The process-wide manager of connection pools."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg

from perfuse import get_performance_monitor
from perfuse.pool.config import ConnectionPoolConfig
from perfuse.pool.conninfo import Target, mask_conninfo
from perfuse.pool.deadline import within
from perfuse.pool.errors import PoolOpenError
from perfuse.pool.references import References
from perfuse.pool.shared_pool import SharedPool
from perfuse.pool.single_flight import SingleFlight
from perfuse.pool.vector_types import TypeCache

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Iterable

    from perfuse.pool.connections import VectorPool

PoolKey: TypeAlias = "tuple[str, asyncio.AbstractEventLoop]"

__all__ = [
    "GlobalConnectionManager",
    "WarmupReport",
    "get_global_connection_manager",
    "reset_global_connection_pools",
    "warmup_global_connection_pools",
]

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 10.0
"""Seconds to wait for another thread's event loop to close its pool."""
REGISTRATION_THRESHOLD = 0.050
"""Seconds over which a look-up of pgvector's types is a violation, unless the user set another."""


@dataclass(frozen=True)
class WarmupReport:
    """What the warm-up of one URL came to.

    Attributes:
        url: The masked URL.
        connections: How many connections were shown to be ready at the same time.
        seconds: How long it took.
        error: What went wrong, `None` if nothing did.
    """

    url: str
    connections: int
    seconds: float
    error: Exception | None = None


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
        self._forget_everything()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_to_parent)
        monitor = get_performance_monitor()
        if "pgvector_registration" not in monitor.thresholds:
            monitor.set_threshold("pgvector_registration", REGISTRATION_THRESHOLD)

    def _leave_to_parent(self) -> None:
        # The parent's sockets are neither used nor told goodbye, which would end its sessions. The
        # lock may have been held by a thread that does not exist in the child.
        GlobalConnectionManager._creation = threading.Lock()
        self._forget_everything()

    def _forget_everything(self) -> None:
        self._pools: dict[PoolKey, SharedPool] = {}
        # The same pools under the very strings callers pass, so that a warm call parses nothing.
        self._by_url: dict[PoolKey, SharedPool] = {}
        self._types = TypeCache()
        self._openings: SingleFlight[PoolKey, SharedPool] = SingleFlight()
        self._checks: SingleFlight[PoolKey, None] = SingleFlight()

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
        with get_performance_monitor().track_operation("connection_pool_access"):
            shared = self._by_url.get((db_url, asyncio.get_running_loop()))
            if (
                shared is None
                or monotonic() >= shared.healthy_until
                or shared.pool.closed
                or (config is not None and config is not shared.config)
            ):
                shared = await self._open_or_check(db_url, config)
            if store_ref is not None:
                shared.references.add(store_ref)
            return shared.pool

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
        if isinstance(urls, str):
            raise TypeError("urls is an iterable of connection strings, not one string")
        reports = list(await asyncio.gather(*(self._warm_up(url, config) for url in urls)))
        errors = []
        for report in reports:
            if report.error is not None:
                logger.error("warm-up of %s failed: %s", report.url, report.error)
                errors.append(report.error)
        if strict and errors:
            raise errors[0]
        return reports

    async def is_pool_healthy(self, pool: VectorPool, url: str) -> bool:
        """Whether a pool of the running loop works; asks the server unless it did so recently.

        Args:
            pool: What `get_connection_pool` returned.
            url: Its connection string.

        Returns:
            `False` if the pool is closed, is not the one of `url`, or its server does not answer.
        """
        key = (Target.parse(url).key, asyncio.get_running_loop())
        shared = self._pools.get(key)
        if shared is None or shared.pool is not pool or pool.closed:
            return False
        if monotonic() < shared.healthy_until:
            return True
        try:
            await self._checks.do(key, shared.check_health)
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
        self._types.clear()

    def get_pool_statistics(self) -> dict[str, dict[str, Any]]:
        """Settings and counters of every pool, by masked URL.

        Pools whose masked URLs are equal, such as those of two event loops or two passwords, are
        told apart by a number: `postgresql://...`, `postgresql://... (2)`.
        """
        statistics: dict[str, dict[str, Any]] = {}
        for shared in list(self._pools.values()):
            name = shared.target.masked
            number = 1
            while name in statistics:
                number += 1
                name = f"{shared.target.masked} ({number})"
            statistics[name] = shared.statistics()
        return statistics

    async def _open_or_check(self, db_url: str, config: ConnectionPoolConfig | None) -> SharedPool:
        if config is not None and not isinstance(config, ConnectionPoolConfig):
            raise TypeError(
                f"config is a ConnectionPoolConfig, not {type(config).__name__}; "
                "ConnectionPoolConfig.from_memfuse_config reads one from a mapping"
            )
        self._drop_dead_loops()
        loop = asyncio.get_running_loop()
        target = Target.parse(db_url)
        key = (target.key, loop)
        shared = self._pools.get(key)
        if shared is None or shared.pool.closed:
            wanted = config or ConnectionPoolConfig()
            shared = await self._openings.do(key, lambda: self._open(key, target, wanted))
        elif monotonic() >= shared.healthy_until:
            await self._checks.do(key, shared.check_health)
        if config is not None:
            shared.compare(config)
        self._by_url[db_url, loop] = shared
        return shared

    async def _open(
        self,
        key: PoolKey,
        target: Target,
        config: ConnectionPoolConfig,
    ) -> SharedPool:
        closed = self._pools.get(key)  # by someone who got it from us
        references = closed.references if closed is not None else References()
        types = self._types.of(target.database, target.masked)
        shared = SharedPool(target, config, types, references)
        await shared.open()
        self._pools[key] = shared
        return shared

    async def _warm_up(self, url: str, config: ConnectionPoolConfig | None) -> WarmupReport:
        started = perf_counter()
        connections = 0
        error: Exception | None = None
        try:
            pool = await self.get_connection_pool(url, config)
            connections = pool.min_size
            await _hold_at_once(pool, connections, pool.config.connection_timeout)
        except (psycopg.Error, TypeError) as exc:
            connections = 0
            error = exc
        masked = mask_conninfo(url) if isinstance(url, str) else repr(type(url).__name__)
        return WarmupReport(masked, connections, perf_counter() - started, error)

    async def _close(self, target_key: str | None, *, force: bool) -> bool:
        self._drop_dead_loops()
        loop = asyncio.get_running_loop()
        all_closed = True
        await self._openings.settled(lambda key: key[1] is loop and target_key in {None, key[0]})
        for key, shared in list(self._pools.items()):
            if target_key not in {None, key[0]}:
                continue
            users = len(shared.references)
            if users and not force:
                logger.warning("pool %s stays open: %d objects use it", shared.target.masked, users)
                all_closed = False
                continue
            self._forget(key)
            await _close_in_its_loop(shared.pool, key[1])
        return all_closed

    def _forget(self, key: PoolKey) -> None:
        shared = self._pools.pop(key, None)
        for alias, other in list(self._by_url.items()):
            if other is shared:
                self._by_url.pop(alias, None)

    def _drop_dead_loops(self) -> None:
        for key, shared in list(self._pools.items()):
            if key[1].is_closed():
                self._forget(key)
                shared.pool.abandon()


async def _hold_at_once(pool: VectorPool, count: int, seconds: float) -> None:
    deadline = monotonic() + seconds
    async with AsyncExitStack() as leases:
        # One after another, so that max_waiting cannot refuse.
        for _ in range(count):
            await leases.enter_async_context(pool.connection(timeout=deadline - monotonic()))


async def _close_in_its_loop(pool: VectorPool, loop: asyncio.AbstractEventLoop) -> None:
    if loop is asyncio.get_running_loop():
        await pool.close()
    elif loop.is_running():
        closing = asyncio.run_coroutine_threadsafe(pool.close(), loop)
        try:
            await within(CLOSE_TIMEOUT, _outcome(closing))
        except asyncio.TimeoutError:
            logger.warning("pool %s is not closed: its event loop is blocked", pool.name)
    else:
        pool.abandon()


async def _outcome(future: concurrent.futures.Future[None]) -> None:
    await asyncio.wrap_future(future)


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
