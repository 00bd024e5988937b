"""Synchronous pools with shared pgvector types, health checks and tracked leases."""

from __future__ import annotations

import logging
import threading
import time
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests
from psycopg_pool.abc import CT
from psycopg_pool.pool import MaintenanceTask

from nanospan.pool.lease import SyncGetconnLease, SyncLease
from nanospan.pool.lease_table import Holder
from nanospan.pool.opening import reach_server
from nanospan.pool.own_pools import own_endpoint
from nanospan.pool.policy import Fitness, Reconnection
from nanospan.pool.sync_pool_base import SyncPoolBase
from nanospan.reentrant import Bell
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from typing_extensions import Unpack

    from nanospan.pool.config import PoolSettings
    from nanospan.pool.conninfo import Conninfo
    from nanospan.pool.endpoint import Endpoint

__all__ = ["SyncVectorPool"]

logger = logging.getLogger("nanospan.pool")


class SyncVectorPool(SyncPoolBase[CT]):
    """A ``psycopg_pool.ConnectionPool`` with pgvector types, self-healing and tracked leases.

    The synchronous counterpart of ``VectorPool``. Thread-safe.
    """

    kind = "sync"
    _plain_class = Connection
    _lease: ClassVar[type[SyncLease]] = SyncLease

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.getconn is not SyncVectorPool.getconn:
            cls._lease = SyncGetconnLease

    def __init__(  # noqa: PLR0913 - psycopg_pool's arguments, as keywords
        self,
        conninfo: Conninfo = "",
        *,
        connection_class: type[CT] = cast("type[CT]", Connection),  # noqa: B008 - a cast
        min_size: int | None = None,
        max_size: int | None = None,
        open: bool | None = None,  # noqa: A002 - psycopg_pool's name
        name: str | None = None,
        max_lifetime: float = 3600.0,
        configure: Callable[[CT], None] | None = None,
        check: Callable[[CT], None] | None = None,
        reset: Literal["none", "discard"] | Callable[[CT], None] | None = "none",
        **settings: Unpack[PoolSettings],
    ) -> None:
        """Prepare the pool; ``open``, or a ``with`` block, starts it.

        Takes the same arguments as ``VectorPool``, except that the functions are called in the
        pool's threads, or in the thread that leases or returns a connection.
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
        self._grown = Bell()

    def connection(  # type: ignore[override]  # psycopg_pool's method is a generator
        self, timeout: float | None = None, label: str | None = None
    ) -> AbstractContextManager[CT]:
        """Lease a connection for a block: ``with pool.connection() as connection:``."""
        return cast("AbstractContextManager[CT]", self._lease(timeout, label, self))

    def getconn(self, timeout: float | None = None) -> CT:
        """Lease a connection, which the caller must return with ``putconn``."""
        return self.lease(Holder(), timeout)

    def lease(self, holder: Holder, timeout: float | None) -> CT:
        """Lease a connection for ``holder``; see ``getconn``."""
        self._check_open_getconn()
        holder.owner = threading.current_thread()
        began = now = self._request_lease(holder)
        deadline = began + (self.timeout if timeout is None else timeout)
        policy, check = self.policy, self._check
        attempt: Reconnection | None = None
        while True:
            try:
                connection: Any = self._getconn_unchecked(deadline - now)
            except (PoolTimeout, TooManyRequests) as exc:
                raise self._lease_error(exc, began) from None
            now = monotonic()
            fitness = policy.fitness(connection, self._types, self._doubted_at, now)
            if fitness is Fitness.FIT and check is None:
                break
            patience = policy.patience(deadline - now)
            works = fitness is Fitness.FIT or self._recovers(connection, fitness, patience)
            if works and check is not None:
                works = self._passes(connection, patience)
                if not works:
                    attempt = attempt or Reconnection()
                    time.sleep(self._pause(attempt, began, deadline))
            now = monotonic()
            if works:
                break
        self._begin_lease(connection, holder, began, now)
        return connection  # type: ignore[no-any-return]

    def putconn(self, conn: CT) -> None:
        """Return a leased connection to the pool.

        Rolls back any open transaction, and undoes what the lease changed, in the calling thread:
        no busy worker delays it.

        Raises:
            ValueError: If the connection is not leased from this pool.
        """
        if self.disowned:
            return
        now = monotonic()
        connection: Any = conn
        clean = self._end_lease(connection, now)
        if self._closed:
            connection.drop()
        elif not clean:
            self._clean_up(connection)
        elif connection.is_expired(now, self._drained_at):
            self._replace(connection)
        else:
            self._add_to_pool(connection)

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until ``min_size`` connections are idle; see ``VectorPool.wait``."""
        self._wait_for(lambda: len(self._pool) >= self._min_size, timeout)

    def fill(self, timeout: float) -> None:
        """Wait until ``min_size`` connections are open, whether idle or leased; see ``wait``."""
        self._wait_for(lambda: self.open_connections >= self._min_size, timeout)

    def _wait_for(self, is_reached: Callable[[], bool], timeout: float) -> None:
        self._check_open_getconn()

        def has_ended() -> bool:
            if is_reached():
                return True
            self._check_open_getconn()
            self._check_fault()
            return False

        if not self._grown.wait_for(has_ended, timeout):
            raise self.exhausted(timeout)

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the minimum and maximum size of the open pool; see ``VectorPool.resize``."""
        self._change_sizes(min_size, max_size)

    def check_health(self, seconds: float) -> None:
        """Check that the server answers and the types are current, as ``VectorPool`` does."""
        began = monotonic()
        with self._lock:
            connection = self._pop_idle(began)
        if connection is not None:
            if self._recovers(connection, Fitness.UNSURE, seconds / 2, look_up_types=True):
                self._add_to_pool(connection)
                return
        elif len(self.leases) >= self._limit:
            return
        reach_server(self.endpoint, began + seconds - monotonic())

    def sweep(self) -> None:
        """Log leaked leases, replace lost or expired idle connections, and open missing ones."""
        self._report_leaks()
        for connection, fitness in self._outdated():
            if self._recovers(connection, fitness, self.config.connection_timeout):
                self._add_to_pool(connection)
        self._top_up()

    def check(self) -> None:
        """Ask the server on each idle connection; see ``VectorPool.check``."""
        self._maybe_grow_pool()
        for connection in self._idle():
            if self._take(connection):
                expired = connection.is_expired(monotonic())
                fitness = Fitness.UNFIT if expired else Fitness.UNSURE
                if self._recovers(connection, fitness, self.config.connection_timeout):
                    self._add_to_pool(connection)
                elif not expired:
                    self._report_broken(connection)
        self._top_up()

    def close(self, timeout: float = 5.0) -> None:
        """Close the pool. New and waiting leases fail; leased connections are closed when returned.

        Args:
            timeout: Maximum seconds to wait for the pool's threads to end.
        """
        self._distrust()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting, idle = list(self._waiting), list(self._pool)
            self._waiting.clear()
            self._pool.clear()
            threads = self._signal_stop_worker()
        self._grown.ring()
        for client in waiting:
            client.fail(PoolClosed(f"the pool {shown(self.name)} is closed"))
        for connection in idle:
            connection.drop()
        deadline = monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():  # `reconnect_failed` may close the pool
                thread.join(max(deadline - monotonic(), 0.0))
                if thread.is_alive():
                    logger.warning(
                        "could not stop thread %s within %g s", shown(thread.name), timeout
                    )

    def _start_initial_tasks(self) -> None:
        super()._start_initial_tasks()
        self.run_task(_Sweep(self))


class _Sweep(MaintenanceTask):
    """A task that calls a pool's ``sweep`` periodically, like psycopg_pool's ``ShrinkPool``."""

    def _run(self, pool: ConnectionPool[Any]) -> None:
        swept = cast("SyncVectorPool[Any]", pool)
        swept.schedule_task(self, swept.policy.sweep_interval)
        swept.sweep()
