"""The part of a synchronous pool that opens, checks, cleans and hands over connections."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from psycopg_pool import ConnectionPool
from psycopg_pool.abc import CT
from psycopg_pool.pool import AddConnection

from nanospan.pool.connecting import find_route
from nanospan.pool.connections import Hangup
from nanospan.pool.endpoint import known_arguments
from nanospan.pool.errors import OUTAGE
from nanospan.pool.health import ask
from nanospan.pool.policy import Fitness
from nanospan.pool.pool_base import PolicyPool
from nanospan.pool.queries import query
from nanospan.pool.session_state import undo
from nanospan.pool.threads import PoolScheduler, TaskQueue, WaitingThread

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from psycopg_pool.base import AttemptWithBackoff

    from nanospan.reentrant import Bell


__all__ = ["SyncPoolBase"]


class SyncPoolBase(PolicyPool, ConnectionPool[CT]):
    """The part of ``SyncVectorPool`` that is not for its users."""

    _grown: Bell
    """Rung whenever a connection has become idle, or the pool has been closed."""

    @property
    def _guard(self) -> AbstractContextManager[object]:  # type: ignore[override]
        return self._lock

    def is_locked_here(self) -> bool:
        """Return True if the current thread has the lock, as when a handler interrupts it."""
        lock: Any = self._lock
        return cast("bool", lock._is_owned())  # noqa: SLF001 - as threading.Condition does

    def renew_locks(self) -> None:
        """Replace the lock, which a thread of the parent may hold, in a forked child."""
        self._lock = threading.RLock()

    def _start_workers(self) -> None:
        if sys.is_finalizing():  # CPython before 3.12 would wait for ever for the threads
            raise RuntimeError("a pool cannot be opened while the interpreter is ending")
        # psycopg_pool's own hold locks while a task is added.
        self._tasks = cast("Any", TaskQueue())
        self._sched = PoolScheduler()
        super()._start_workers()

    def _request_connection(self) -> None:
        self.run_task(AddConnection(self))

    def _getconn_unchecked(self, timeout: float) -> Any:
        """Return an idle connection, or wait for one; waiting leases are served in order.

        Unlike in psycopg_pool, a lease that ends without a connection is not counted any longer,
        loses no connection if it is interrupted, and needs no worker to pass on one that arrives as
        its time ends.
        """
        with self._lock:
            connection = self._get_ready_connection(timeout)
            if connection is None:
                client: WaitingThread[Any] = WaitingThread()
                self._waiting.append(cast("Any", client))
                self._stats[self._REQUESTS_QUEUED] += 1
                self._maybe_grow_pool()
        if connection is None:
            began = monotonic()
            try:
                connection = client.wait(timeout)
            except BaseException as exc:
                self._stats[self._REQUESTS_ERRORS] += 1
                client.fail(exc)  # from now on, it is given no connection
                if client.conn is not None:
                    self._add_to_pool(client.conn)
                else:
                    with self._lock, suppress(ValueError):
                        self._waiting.remove(cast("Any", client))
                raise
            finally:
                self._stats[self._REQUESTS_WAIT_MS] += int(1000 * (monotonic() - began))
        connection._pool = self  # noqa: SLF001 - as psycopg_pool does
        return connection

    def _get_ready_connection(self, timeout: float | None) -> Any:
        """Return the longest-idle unexpired connection, if any; replace those that have expired."""
        while True:
            self._check_open_getconn()  # the pool may have been closed during a check
            connection: Any = super()._get_ready_connection(timeout)
            if (
                connection is None
                or self.config.null_pool
                or not connection.is_expired(monotonic())
            ):
                return connection
            self._replace(connection)

    def _connect(self, timeout: float | None = None) -> Any:
        with self._watch_connect():
            limit = self._connect_limit(timeout)
            route = find_route(self.endpoint, limit, firm=timeout is not None)
            with known_arguments():
                connection: Any = route.connect(self.connection_class)
            connection._pool = self  # noqa: SLF001 - keeps a block in `configure` from closing it
            with self._prepare(connection) as must_ask:
                if must_ask or self.endpoint.types_are_stale():
                    ask(self.endpoint, connection, limit, works=not must_ask)
                self._register_types(connection)
                if (configure := self.config.configure) is not None:
                    with Hangup(connection, limit):
                        configure(connection)
        return connection

    def reconnect_failed(self) -> None:
        """Call the function that the setting ``reconnect_failed`` names, and log its errors."""
        try:
            super().reconnect_failed()
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - the pool must go on
            self._report_failed(exc)

    def _add_connection(
        self,
        attempt: AttemptWithBackoff | None,
        growing: bool = False,  # noqa: ARG002 - psycopg_pool's signature
    ) -> None:
        """Open a connection, retrying until it succeeds or the connection is no longer needed."""
        try:
            connection = self._connect()
        except OUTAGE:  # recorded and logged by _watch_connect
            must_report = self._must_report()
            if (attempt := self._next_attempt(attempt)) is not None:
                self.schedule_task(AddConnection(self, attempt), attempt.delay)
        except Exception as exc:  # noqa: BLE001 - raised in the leases that wait
            self._give_up(exc)
            self._grown.ring()
            return
        else:
            self._add_to_pool(connection)
            return
        # Outside the handler, as the error of an attempt to connect may contain a secret, and last,
        # as the function may close the pool.
        if must_report:
            self.reconnect_failed()

    def _add_to_pool(self, conn: Any) -> None:
        """Hand a working connection to the longest-waiting lease, or keep it in the pool."""
        if not self._closes_surplus(conn):
            super()._add_to_pool(conn)
            self._grown.ring()

    def _closes_surplus(self, connection: Any) -> bool:
        """Close a connection if there are more than ``max_size``; return False if not."""
        with self._lock:
            if self._closed or not self.policy.is_surplus(self._nconns, self._limit):
                return False
            self._replace(connection)
            return True

    def _clean_up(self, connection: Any) -> None:
        """Clean a returned connection in the calling thread, which no busy worker delays."""
        self._begin_work()
        try:
            with self._cleaning(connection):
                self._reset_connection(connection)
        finally:
            if self._is_reusable(connection, monotonic()):
                self._add_to_pool(connection)

    def _reset_connection(self, conn: CT) -> None:
        """Roll back, and undo what the lease changed, with a time limit.

        Otherwise, an unresponsive server would block the thread.
        """
        config, connection = self.config, cast("Any", conn)
        with Hangup(connection, config.connection_timeout):
            super()._reset_connection(conn)
            if conn.closed:
                return
            for step in undo(connection, config.reset, config.configure):
                if callable(step):
                    step(connection)
                else:
                    query(connection, step)

    def _passes(self, connection: Any, seconds: float) -> bool:
        """Return True if a connection passes the user's check; else replace it."""
        with self._user_check(connection), Hangup(connection, seconds):
            cast("Any", self._check)(connection)
        return not cast("bool", connection.closed)

    def _recovers(
        self,
        connection: Any,
        fitness: Fitness,
        seconds: float,
        *,
        look_up_types: bool = False,
    ) -> bool:
        """Return True if a connection can be leased; check an UNSURE one with the server first.

        An UNFIT connection, or one that fails the check, is closed and replaced.
        """
        if fitness is Fitness.UNFIT:
            self._replace(connection)
            return False
        with self._health_check(connection, seconds):
            ask(self.endpoint, connection, seconds, look_up_types=look_up_types)
        return not cast("bool", connection.closed)
