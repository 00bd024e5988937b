"""The part of an asynchronous pool that opens, checks, cleans and hands over connections."""

from __future__ import annotations

import asyncio
from asyncio import current_task, get_running_loop
from contextlib import nullcontext, suppress
from functools import partial
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg_pool import AsyncConnectionPool
from psycopg_pool.abc import ACT
from psycopg_pool.pool_async import AddConnection

from nanospan.pool.connecting import find_route_async
from nanospan.pool.connections import hang_up
from nanospan.pool.endpoint import call_async, known_arguments
from nanospan.pool.errors import OUTAGE
from nanospan.pool.health import CANCEL_GRACE, ask_async, limit_work
from nanospan.pool.loops import wrong_loop_error
from nanospan.pool.policy import Fitness
from nanospan.pool.pool_base import PolicyPool
from nanospan.pool.queries import query_async
from nanospan.pool.queueing import WaitingLease
from nanospan.pool.session_state import undo
from nanospan.pool.tasks import end_on_cancel
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg_pool.base import AttemptWithBackoff

__all__ = ["AsyncPoolBase"]


class AsyncPoolBase(PolicyPool, AsyncConnectionPool[ACT]):
    """The part of ``VectorPool`` that is not for its users."""

    _guard = nullcontext()
    _grown: asyncio.Event
    """Set whenever a connection has become idle, or the pool has been closed."""
    _cleaners: dict[asyncio.Task[None], Any]
    """The tasks that clean returned connections, and the connections."""
    _reports: set[asyncio.Task[None]]
    """The tasks that call ``reconnect_failed``."""
    _home: asyncio.AbstractEventLoop | None
    """The event loop that the pool was opened in."""
    _home_thread: int
    """The thread in which that loop ran when it was last looked at."""
    _home_runs: Callable[[], bool]
    """Returns whether that loop runs."""

    @classmethod
    async def worker(cls, q: asyncio.Queue[Any]) -> None:
        """Run the pool's queued tasks until cancelled."""
        await end_on_cancel(partial(super().worker, cast("Any", q)))

    def _check_loop(self) -> None:
        """Raise a RuntimeError if the open pool belongs to another event loop.

        There, its connections would come from tasks of the pool's loop, which do not wake the
        running one: leases would wait until their timeout, or work by accident.
        """
        home = self._home
        if home is get_running_loop():
            self._home_thread = get_ident()
        elif home is not None and not self._closed:
            raise wrong_loop_error(
                f"pool {shown(self.name)}",
                home,
                "open a pool in each event loop, or get the running loop's from a manager",
            )

    def _running_task(self) -> asyncio.Task[Any] | None:
        """Return the running task, if any; raise a RuntimeError as ``_check_loop`` does."""
        # Up to Python 3.11, this would make a system call if the loop were not given.
        task = current_task(self._home)
        if task is None or get_ident() != self._home_thread:
            self._check_loop()
        return task

    def _start_workers(self) -> None:
        self._home = get_running_loop()
        self._home_thread = get_ident()
        self._home_runs = self._home.is_running
        # The scheduler is psycopg_pool's, which offers no other way to wrap the coroutine.
        self._sched.run = partial(end_on_cancel, self._sched.run)  # type: ignore[method-assign]
        super()._start_workers()

    def _request_connection(self) -> None:
        self.run_task(AddConnection(self))

    async def _getconn_unchecked(self, timeout: float) -> Any:
        """Return an idle connection, or wait for one; waiting leases are served in order."""
        async with self._lock:
            self._check_open_getconn()  # the pool may have been closed during a check
            connection = await self._get_ready_connection(timeout)
            if connection is not None:
                return connection
            client = WaitingLease()
            self._waiting.append(client)
        self._stats[self._REQUESTS_QUEUED] += 1
        self._maybe_grow_pool()
        began = monotonic()
        try:
            return await client.wait(timeout)
        except BaseException:
            self._stats[self._REQUESTS_ERRORS] += 1
            if client.conn is not None:
                self._put_back(client.conn)
            else:
                with suppress(ValueError):
                    self._waiting.remove(client)
            raise
        finally:
            self._stats[self._REQUESTS_WAIT_MS] += int(1000 * (monotonic() - began))

    async def _connect(self, timeout: float | None = None) -> Any:
        with self._watch_connect():
            limit = self._connect_limit(timeout)
            route = await find_route_async(self.endpoint, limit, firm=timeout is not None)
            with known_arguments():
                connection: Any = await route.connect_async(self.connection_class)
            connection._pool = self  # noqa: SLF001 - keeps a block in `configure` from closing it
            with self._prepare(connection) as must_ask:
                if must_ask or self.endpoint.types_are_stale():
                    await ask_async(self.endpoint, connection, limit, works=not must_ask)
                self._register_types(connection)
                if (configure := self.config.configure) is not None:
                    await self._configure_limited(configure, connection, limit)
        return connection

    async def _configure_limited(
        self, configure: Callable[[Any], Any], connection: Any, limit: float
    ) -> None:
        work = call_async(partial(configure, connection))
        try:
            await limit_work(connection, limit, work)
        except asyncio.TimeoutError as exc:
            problem = f"{exc}" or f"the configure function took longer than {limit:g} s"
            raise psycopg.OperationalError(problem) from None

    async def _add_connection(
        self,
        attempt: AttemptWithBackoff | None,
        growing: bool = False,  # noqa: ARG002 - psycopg_pool's signature
    ) -> None:
        """Open a connection, retrying until it succeeds or the connection is no longer needed."""
        try:
            connection = await self._connect()
        except OUTAGE:  # recorded and logged by _watch_connect
            if self._must_report():
                # In a separate task: the function may close the pool, which ends the worker.
                task = asyncio.get_running_loop().create_task(self.reconnect_failed())
                self._reports.add(task)
                task.add_done_callback(self._reports.discard)
            if (attempt := self._next_attempt(attempt)) is not None:
                await self.schedule_task(AddConnection(self, attempt), attempt.delay)
        except Exception as exc:  # noqa: BLE001 - raised in the leases that wait
            self._give_up(exc)
            self._grown.set()
        except asyncio.CancelledError:
            self._nconns -= 1  # the worker is being stopped, which will cancel it again
        else:
            self._put_back(connection)

    async def reconnect_failed(self) -> None:
        """Call the function that the setting ``reconnect_failed`` names, and log its errors."""
        self._check_loop()
        try:
            await super().reconnect_failed()
        except Exception as exc:  # noqa: BLE001 - the pool must go on
            self._report_failed(exc)

    async def _add_to_pool(self, conn: ACT) -> None:
        self._put_back(conn)

    def _put_back(self, connection: Any) -> None:
        """Hand a working connection to the longest-waiting lease, or keep it in the pool."""
        connection._pool = None  # noqa: SLF001 - an idle connection must not refer to its pool
        if self._closed:
            connection.drop()
        elif self.policy.is_surplus(self._nconns, self._limit):
            self._replace(connection)
        else:
            while self._waiting:
                if self._waiting.popleft().give(connection):
                    break
            else:
                self._keep(connection)
            self._grown.set()

    def _keep(self, connection: Any) -> None:
        self._pool.append(connection)

    def _clean_up(self, connection: Any) -> None:
        """Clean a returned connection in a task, which no busy worker and no caller delays."""
        self._begin_work()
        task = asyncio.get_running_loop().create_task(self._clean(connection))
        self._cleaners[task] = connection
        task.add_done_callback(self._cleaners.pop)

    async def _clean(self, connection: Any) -> None:
        try:
            with self._cleaning(connection):
                await self._reset_connection(connection)
        finally:
            if self._is_reusable(connection, monotonic()):
                self._put_back(connection)

    async def _reset_connection(self, conn: ACT) -> None:
        """Roll back, and undo what the lease changed, with a time limit.

        Otherwise, an unresponsive server or function would keep the connection forever.
        """
        config, connection = self.config, cast("Any", conn)
        limit, loop = config.connection_timeout, asyncio.get_running_loop()
        cancel = cast("asyncio.Task[None]", asyncio.current_task()).cancel
        timers = (
            loop.call_later(limit, hang_up, connection),
            loop.call_later(limit + CANCEL_GRACE, cancel),
        )
        try:
            await super()._reset_connection(conn)
            if conn.closed:
                return
            for step in undo(connection, config.reset, config.configure):
                if callable(step):
                    await call_async(partial(step, connection))
                else:
                    await query_async(connection, step)
        finally:
            for timer in timers:
                timer.cancel()

    def abandon(self) -> None:
        """Close the pool and its unused connections after its event loop has stopped running."""
        super().abandon()
        for connection in self._cleaners.values():
            connection.drop()

    async def _passes(self, connection: Any, seconds: float) -> bool:
        """Return True if a connection passes the user's check; else replace it."""
        with self._user_check(connection):
            work = call_async(partial(cast("Any", self._check), connection))
            await limit_work(connection, seconds, work)
        return not cast("bool", connection.closed)

    async def _recovers(
        self,
        connection: Any,
        fitness: Fitness,
        seconds: float,
        *,
        look_up_types: bool = False,
    ) -> bool:
        """Return True if a connection can be leased; check an UNSURE one with the server first.

        An UNFIT connection, or one whose check fails or is cancelled, is closed and replaced.
        """
        if fitness is Fitness.UNFIT:
            self._replace(connection)
            return False
        with self._health_check(connection, seconds):
            await ask_async(self.endpoint, connection, seconds, look_up_types=look_up_types)
        return not cast("bool", connection.closed)
