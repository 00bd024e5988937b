"""The process-wide manager of synchronous connection pools."""

from __future__ import annotations

import atexit
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg

from nanospan.pool.config import as_config, default_config
from nanospan.pool.conninfo import Target
from nanospan.pool.endpoint import call
from nanospan.pool.errors import PoolOpenError
from nanospan.pool.lease import SyncLease
from nanospan.pool.manager_base import PoolManager, existing_manager
from nanospan.pool.null_pools import SyncVectorNullPool
from nanospan.pool.opening import reach_server
from nanospan.pool.registry import REGISTRY, PoolKey
from nanospan.pool.sync_vector_pool import SyncVectorPool
from nanospan.pool.threads import start_in_thread
from nanospan.pool.warmup import Warmup, WarmupReport, conclude

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection
    from typing_extensions import Unpack

    from nanospan.pool.config import AnyConfig, ConnectionPoolConfig, SharedPoolSettings
    from nanospan.pool.connections import SyncVectorConnection
    from nanospan.pool.conninfo import Conninfo
    from nanospan.pool.shared_pool import SharedPool

__all__ = ["SyncConnectionManager", "get_sync_connection_manager"]

AnyPool: TypeAlias = "SyncVectorPool[Connection[Any]]"

CLOSE_TIMEOUT = 5.0
"""Maximum time for each pool to close, in seconds."""
EXIT_TIMEOUT = 1.0
"""Maximum time for each pool to close when the interpreter exits, in seconds."""


class SyncConnectionManager(PoolManager[AnyPool]):
    """Process-wide manager that shares one synchronous pool per database URL.

    A singleton: the counterpart of ``GlobalConnectionManager`` for programs without an event loop.
    The two managers share their statistics and the pgvector types already looked up. The methods
    may be called from any thread, but not in an event loop, which they would block. The pools are
    closed when the interpreter exits.
    """

    kind = "sync"

    def _forget_openings(self) -> None:
        self._locks: dict[str, threading.RLock] = {}
        self._checks: dict[str, Future[None]] = {}

    def get_connection_pool(
        self,
        db_url: Conninfo,
        config: AnyConfig | None = None,
        store_ref: object | None = None,
        **settings: Unpack[SharedPoolSettings],
    ) -> SyncVectorPool[Connection[Any]]:
        """Return the shared pool for a database, opening it on the first call.

        Takes the same arguments and raises the same exceptions as
        ``GlobalConnectionManager.get_connection_pool``, except that functions are called in the
        thread that needs a connection.

        Returns:
            An open ``psycopg_pool.ConnectionPool``. Do not close it: it is shared.
        """
        if settings:
            config = as_config(config, settings)
        with self._track_access(self._access(db_url)):
            shared = self._shared(db_url, config)
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
    ) -> SyncLease:
        """Lease a connection from a shared pool: ``with manager.lease(url) as connection:``.

        See ``GlobalConnectionManager.lease``.
        """
        return _SharedLease(self, db_url, config, timeout, label)

    def warmup_common_pools(
        self,
        common_db_urls: Iterable[Conninfo] | None = None,
        config: AnyConfig | None = None,
        *,
        strict: bool = False,
    ) -> list[WarmupReport]:
        """Open pools before first use; see ``GlobalConnectionManager.warmup_common_pools``."""
        every = self._urls_to_warm(common_db_urls, None)
        wanted = as_config(config)
        # An executor would hold a lock that all executors of the process share.
        here = any(shared.pool.is_locked_here() for shared in REGISTRY.pools.values())
        warming = [start_in_thread(partial(self._warm_up, url, wanted), here=here) for url in every]
        return conclude([future.result() for future in warming], strict=strict)

    def is_pool_healthy(self, pool: AnyPool, db_url: Conninfo) -> bool:
        """Return True if a pool is open and can reach its server.

        See ``GlobalConnectionManager.is_pool_healthy``.
        """
        shared = self._find(_target(db_url).key, None)
        if shared is None or shared.pool is not pool:
            return False
        with suppress(psycopg.OperationalError):
            self._shared(db_url, None)
            return True
        return False

    def resize_pool(self, db_url: Conninfo, min_size: int, max_size: int) -> bool:
        """Resize the pool for ``db_url``; see ``GlobalConnectionManager.resize_pool``."""
        shared = self._find(_target(db_url).key, None)
        if shared is None:
            return False
        shared.pool.resize(min_size, max_size)
        return True

    def close_pool(self, db_url: Conninfo, force: bool = False) -> bool:
        """Close the synchronous pool for ``db_url``, unless the pool is in use.

        A pool is in use while an object that was passed to ``get_connection_pool`` as
        ``store_ref`` is alive.

        Args:
            db_url: A connection string.
            force: Whether to close the pool even if it is in use.

        Returns:
            True if no synchronous pool for ``db_url`` remains open.
        """
        return self._close(_target(db_url).key, force=force)

    def close_all_pools(self, force: bool = False) -> bool:
        """Close every synchronous pool, except pools in use.

        A pool is in use while an object that was passed to ``get_connection_pool`` as
        ``store_ref`` is alive.

        Args:
            force: Whether to also close pools that are in use.

        Returns:
            True if no synchronous pool remains open.
        """
        return self._close(None, force=force)

    def reset_all_pools(self) -> None:
        """Close all synchronous pools, even pools in use, and discard the cached pgvector types."""
        self.close_all_pools(force=True)
        REGISTRY.types.clear()

    def _access(self, db_url: Conninfo) -> dict[str, str]:
        """Return the metadata of an access to the pool for ``db_url``."""
        shared = self._warm.get(None, {}).get(db_url)
        return self._new_access(db_url) if shared is None else shared.access

    def _shared(
        self, db_url: Conninfo, config: AnyConfig | None, seconds: float | None = None
    ) -> SharedPool[AnyPool]:
        shared = self._warm.get(None, {}).get(db_url)
        if (
            shared is None
            or (monotonic() >= shared.healthy_until and shared.config.open == "eagerly")
            or (config is not None and config is not shared.requested)
        ):
            shared = self._open_or_check(db_url, config, seconds)
        return shared

    def _open_or_check(
        self, db_url: Conninfo, config: AnyConfig | None, seconds: float | None
    ) -> SharedPool[AnyPool]:
        """Return the shared pool for a database; if necessary, open it or check its health first.

        Raises:
            PoolExhausted: If checking an open pool takes longer than ``seconds``.
        """
        wanted = as_config(config)
        target = _target(db_url)
        key = (target.key, None)
        shared: SharedPool[AnyPool] | None = None
        while shared is None or shared.pool.closed:  # another thread may have closed it meanwhile
            # One thread at a time opens a pool; waiting threads then find it open. A signal handler
            # that interrupts it opens another, of which one is kept. So does a thread that has
            # waited for long, because the lock's holder may be waiting for this thread.
            lock = self._locks.setdefault(target.key, threading.RLock())
            is_held = lock.acquire(timeout=(wanted or default_config()).connection_timeout)
            try:
                shared = self._find(*key)
                if shared is None:
                    shared = self._open_pool(key, target, wanted, db_url)
            finally:
                if is_held:
                    lock.release()
            if monotonic() >= shared.healthy_until and shared.config.open == "eagerly":
                self._check_pool(target.key, shared, seconds)
        if wanted is not None:
            shared.compare(wanted)
        if config is not None:
            shared.requested = config
        self._warm.setdefault(None, {})[db_url] = shared
        return shared

    def _check_pool(
        self, target_key: str, shared: SharedPool[AnyPool], seconds: float | None
    ) -> None:
        """Check a pool's health, or join the check that is already running.

        The check has its own thread, so that each of the threads waiting for it can stop waiting
        after its own time limit. That thread also registers it, so that a signal handler never
        waits for a check that is yet to be started by the thread it has interrupted.
        """
        here = shared.pool.is_locked_here()
        running = None if here else self._checks.get(target_key)
        if running is None:
            work = partial(self._run_check, target_key, shared, threading.get_ident())
            running = start_in_thread(work, here=here)
        try:
            running.result(seconds)
        except FutureTimeoutError:
            if running.done():  # it is the check's own error
                raise
            raise shared.pool.exhausted(seconds) from None

    def _run_check(self, target_key: str, shared: SharedPool[AnyPool], caller: int) -> None:
        check: Future[None] = Future()
        if threading.get_ident() == caller:  # there is no other thread: others must not wait
            running = check
        else:
            running = self._checks.setdefault(target_key, check)
        if running is not check:
            running.result()
            return
        error: BaseException | None = None
        try:
            shared.pool.check_health(shared.config.connection_timeout)
            shared.trust()
        except BaseException as exc:
            error = exc
            raise
        finally:
            if self._checks.get(target_key) is check:
                self._checks.pop(target_key, None)
            if error is None:
                check.set_result(None)
            else:
                check.set_exception(error)

    def _open_pool(
        self,
        key: PoolKey,
        target: Target,
        config: ConnectionPoolConfig | None,
        conninfo: Conninfo,
    ) -> SharedPool[AnyPool]:
        shared: SharedPool[AnyPool] = REGISTRY.prepare(key, target, config, conninfo)
        kind: type[AnyPool] = SyncVectorNullPool if shared.config.null_pool else SyncVectorPool
        shared.pool = kind.shared(shared.endpoint, shared.distrust)
        if shared.config.open == "eagerly":
            reach_server(shared.endpoint, shared.config.connection_timeout)
        shared.pool.open()
        shared.trust()
        if (used := REGISTRY.publish(key, shared)) is not shared:
            shared.pool.close(CLOSE_TIMEOUT)
        return used

    def _warm_up(self, url: Conninfo, config: ConnectionPoolConfig | None) -> WarmupReport:
        with Warmup(url) as warmup:
            pool = self.get_connection_pool(url, config)
            pool.fill(pool.config.connection_timeout)
            warmup.connections = pool.open_connections
        return warmup.report

    def _close(
        self, target_key: str | None, *, force: bool, seconds: float = CLOSE_TIMEOUT
    ) -> bool:
        all_closed = True
        for taken in REGISTRY.take_closable(target_key, synchronous=True, force=force):
            if taken is None:
                all_closed = False
            else:
                taken[1].pool.close(seconds)
        return all_closed

    def _close_at_exit(self) -> None:
        self._close(None, force=True, seconds=EXIT_TIMEOUT)


class _SharedLease(SyncLease):
    """A lease that finds or opens the shared pool when its ``with`` block is entered."""

    __slots__ = ("_config", "_manager", "_url")

    def __init__(
        self,
        manager: SyncConnectionManager,
        url: Conninfo,
        config: AnyConfig | None,
        timeout: float | None,
        label: str | None,
    ) -> None:
        super().__init__(timeout, label, None)
        self._manager = manager
        self._url = url
        self._config = config

    def __enter__(self) -> SyncVectorConnection:
        manager = self._manager
        access = manager._access(self._url)  # noqa: SLF001 - a part of the manager
        with manager._track_access(access):  # noqa: SLF001
            began = 0.0 if self._timeout is None else monotonic()
            try:
                shared = manager._shared(self._url, self._config, self._timeout)  # noqa: SLF001
            except PoolOpenError:
                # An open pool reconnects in the background, maybe before the lease times out.
                found = manager._find(_target(self._url).key, None)  # noqa: SLF001
                if found is None:
                    raise
                shared = found
            if self._timeout is not None:
                self._timeout = max(self._timeout - (monotonic() - began), 0)
            self._pool = shared.pool
            return super().__enter__()


def _target(conninfo: Conninfo) -> Target:
    """Return the target of a connection string, or of the one that a function returns now."""
    target = Target.parse(call(conninfo))
    return target.rotating() if callable(conninfo) else target


def get_sync_connection_manager() -> SyncConnectionManager:
    """Return the process-wide manager of synchronous pools."""
    return SyncConnectionManager()


def _close_at_exit() -> None:
    manager = existing_manager(SyncConnectionManager.kind)
    if isinstance(manager, SyncConnectionManager):
        manager._close_at_exit()  # noqa: SLF001 - defined in this module


atexit.register(_close_at_exit)
