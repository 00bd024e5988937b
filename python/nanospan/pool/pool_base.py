"""Base class of the asynchronous and synchronous pools. Its methods never wait for I/O."""

from __future__ import annotations

import copy
import inspect
import logging
import math
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from psycopg_pool import PoolTimeout
from psycopg_pool.base import BasePool

from nanospan.pool.connections import IDLE, Pooled
from nanospan.pool.errors import OUTAGE
from nanospan.pool.exhaustion import ConnectFailure, exhausted_error
from nanospan.pool.lease_table import Holder, LeaseTable
from nanospan.pool.policy import (
    Fitness,
    PoolCounts,
    PoolPolicy,
    Reconnection,
    is_missing_type,
)
from nanospan.pool.pool_statistics import PoolStatistics
from nanospan.recorder import process_recorder

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator

    from psycopg_pool import TooManyRequests
    from psycopg_pool.base import AttemptWithBackoff

    from nanospan.pool.endpoint import Endpoint
    from nanospan.pool.errors import PoolExhausted

__all__ = ["PolicyPool"]

logger = logging.getLogger("nanospan.pool")

C = TypeVar("C", bound=Pooled)


def _twin(fault: Exception) -> Exception:
    """Return a copy, because an exception that several tasks raise gets the frames of all."""
    try:
        return copy.copy(fault)
    except Exception:  # noqa: BLE001 - not every exception can be copied
        return fault


class PolicyPool(Generic[C], BasePool):  # noqa: PYI059 - in the order of psycopg_pool's classes
    """A psycopg_pool pool that delegates its decisions to a ``PoolPolicy``.

    Attributes:
        kind: ``async`` or ``sync``.
        endpoint: The database, the settings for connecting to it and its pgvector types.
        config: The pool's settings.
        policy: Makes the pool's decisions.
        leases: The current leases and their holders.
        statistics: Distributions of wait, hold and connect times, and the number of failed leases.
        disowned: Whether this process is a forked child and the connections belong to its parent.
    """

    kind: ClassVar[str]

    _pool: deque[C]
    _waiting: deque[Any]  # waiting clients, of different types in the two kinds of pool
    _guard: AbstractContextManager[object]
    """Held while the counts change: a reentrant lock, or in asynchronous pools a no-op."""

    def _set_up(self, endpoint: Endpoint, distrust: Callable[[], None]) -> None:
        """Set the attributes that psycopg_pool's constructor does not set.

        Args:
            endpoint: The database the pool connects to.
            distrust: Called when a lease times out, a connection is returned broken, or the pool
                is closed.
        """
        self.endpoint = endpoint
        self.config = endpoint.config
        self._types = endpoint.types
        self.policy = PoolPolicy(endpoint.config)
        self.leases = LeaseTable()
        self.statistics = PoolStatistics(endpoint.target.masked)
        self.disowned = False
        self._distrust = distrust
        self._doubted_at = 0.0
        self._last_failure: tuple[float, str] | None = None
        self._fault: Exception | None = None

    def _arguments(self) -> dict[str, Any]:
        """Return the constructor arguments common to psycopg_pool's pool classes."""
        config = self.config
        return {
            "conninfo": self.endpoint.target.conninfo,
            "kwargs": self.endpoint.connect_arguments,
            "open": False,
            "name": self.endpoint.target.masked,
            "min_size": 0 if config.null_pool else config.min_size,
            "max_size": config.max_size,
            "timeout": config.timeout,
            "max_waiting": config.max_waiting,
            "max_lifetime": math.inf if config.recycle is None else config.recycle,
            "max_idle": config.max_idle,
        }

    @property
    def sizes(self) -> tuple[int, int]:
        """The current ``min_size`` and ``max_size``."""
        return self._min_size, self._max_size

    @property
    def idle_connections(self) -> int:
        """The number of idle connections."""
        return len(self._pool)

    @property
    def waiting_leases(self) -> int:
        """The number of leases waiting for a connection."""
        return len(self._waiting)

    @property
    def open_connections(self) -> int:
        """The number of open connections, idle or leased."""
        return len(self._pool) + len(self.leases)

    def exhausted(self, waited: float | None) -> PoolExhausted:
        """Count a failed lease and return the error to raise; see ``exhausted_error``."""
        self.statistics.timeouts += 1
        now = monotonic()
        failure = None
        if self._last_failure is not None:
            failed_at, text = self._last_failure
            failure = ConnectFailure(now - failed_at, text)
        holders = self.leases.views(now)
        return exhausted_error(self.endpoint, self._counts(), holders, waited, failure)

    def lease_failed(self, connection: Pooled, error: BaseException | None) -> None:
        """Mark the pgvector types as stale if a statement failed because a type was dropped."""
        if is_missing_type(error, connection.pgconn.get_error_message()):
            self._types.distrust(monotonic())

    def disown(self) -> None:
        """Forget all connections in a forked child process, because they belong to the parent."""
        self.disowned = True
        self._closed = True
        self._pool.clear()
        self._waiting.clear()
        self.leases.clear()

    def abandon(self) -> None:
        """Close the pool and its idle connections after its event loop has stopped running."""
        self._closed = True
        while self._pool:
            self._pool.popleft().drop()
        self.leases.clear()

    # Leases

    def _request_lease(self, holder: Holder) -> float:
        """Count a lease request and return the current monotonic time in seconds."""
        if self.config.capture_stacks:
            holder.capture_stack(inspect.currentframe())
        self._stats[self._REQUESTS_NUM] += 1
        return monotonic()

    def _lease_error(self, error: PoolTimeout | TooManyRequests, began: float) -> PoolExhausted:
        """Return the error to raise in place of psycopg_pool's ``error``."""
        if not isinstance(error, PoolTimeout):
            return self.exhausted(None)
        self._distrust()
        return self.exhausted(monotonic() - began)

    def _begin_lease(self, connection: C, holder: Holder, began: float, now: float) -> None:
        connection._pool = self  # noqa: SLF001 - keeps the end of a block from closing it
        self.leases.begin(connection, holder, now)
        if self._waiting:  # leases that queued while this connection was being checked
            self._maybe_grow_pool()
        self.statistics.wait.record(now - began)

    def _end_lease(self, connection: C, now: float) -> int:
        """Record the end of a lease; return the connection's transaction status."""
        if getattr(connection, "_pool", None) is not self:
            self._check_pool_putconn(connection)  # type: ignore[arg-type]
        holder = self.leases.end(connection)
        if holder is not None:
            held = now - holder.since
            self.statistics.hold.record(held)
            self._stats[self._USAGE_MS] += int(1000 * held)
        connection.alive_at = now
        pgconn = connection.pgconn
        if pgconn.error_message:  # from the last statement, even if its exception was caught
            self.lease_failed(connection, None)
        status = pgconn.transaction_status
        if status != IDLE and connection.closed:
            # The server may have ended other connections, too.
            self._distrust()
            self._doubt_idle()
        return status

    def _doubt_idle(self) -> None:
        """Require a health check before any currently idle connection is leased."""
        self._doubted_at = monotonic()

    # Idle connections

    def _pop_idle(self, now: float) -> C | None:
        """Remove and return the longest-idle connection, if any; replace expired connections."""
        idle = self._pool
        while idle:
            connection = idle.popleft()
            self._nconns_min = min(self._nconns_min, len(idle))
            if not connection.is_expired(now):
                return connection
            self._replace(connection)
        return None

    def _take_outdated(self) -> list[tuple[C, Fitness]]:
        """Remove the idle connections that are not ``FIT``; return each with its fitness."""
        now = monotonic()
        with self._guard:
            judged = [
                (each, self.policy.sweep_fitness(each, self._types, now)) for each in self._pool
            ]
            outdated = [pair for pair in judged if pair[1] is not Fitness.FIT]
            for connection, _ in outdated:
                self._pool.remove(connection)
        return outdated

    def _report_leaks(self) -> None:
        """Log each lease held for longer than ``leak_after``, once."""
        leak_after = self.config.leak_after
        if leak_after is None:
            return
        for holder in self.leases.overdue(leak_after, monotonic()):
            logger.warning(
                "a connection from pool %s has been held for more than %g s: %s%s",
                self.name,
                leak_after,
                holder,
                "".join(f"\n  {place}" for place in holder.stack),
            )

    @contextmanager
    def _health_check(self, connection: C, seconds: float) -> Iterator[None]:
        """Run the block, which checks ``connection``; on failure, close and replace the connection.

        Args:
            connection: A connection that has been taken out of the pool and is not in a
                transaction.
            seconds: Time limit that the block enforces.
        """
        works = False
        began = monotonic()
        try:
            with process_recorder().track_operation("pool_health_check", self.statistics.metadata):
                yield
            connection.alive_at = began
            works = self._types.is_current(connection.generation)
        except OUTAGE as exc:
            logger.info("a connection in pool %s failed its health check: %s", self.name, exc)
            self._stats[self._CONNECTIONS_LOST] += 1
            self._doubt_idle()
            if self.policy.replaces_all_idle(monotonic() - began, seconds):
                self._replace_all_idle()
        finally:
            if not works:
                self._replace(connection)

    # Opening and closing connections

    def _request_connection(self) -> None:
        """Queue a task that opens a connection; the caller has already counted the connection."""
        raise NotImplementedError

    @contextmanager
    def _watch_connect(self) -> Iterator[None]:
        """Record how long the block takes to connect, or which outage makes it fail."""
        began = monotonic()
        try:
            yield
        except OUTAGE as exc:
            redacted = self.endpoint.target.redact(str(exc))
            text = " ".join(redacted.split()) or type(exc).__name__
            if self._last_failure is None:
                logger.warning("pool %s cannot connect and will keep trying: %s", self.name, text)
            self._last_failure = (monotonic(), text)
            raise
        if self._last_failure is not None:
            logger.info("pool %s has reconnected", self.name)
            self._last_failure = None
        self._fault = None
        self.statistics.connect.record(monotonic() - began)

    @contextmanager
    def _prepare(self, connection: C) -> Iterator[None]:
        """Run the block, which refreshes stale pgvector types; then register the types.

        They are registered on the new ``connection``, which is closed if anything here fails.
        """
        try:
            yield
            current = self._types.current
            if current is not None:
                # The types may have changed while the connection was being opened.
                if not current.known_to(connection.adapters):
                    current.register(connection.adapters, self.config.vector_values)
                connection.generation = current.generation
            connection.alive_at = monotonic()
            connection.watch()
        except BaseException:
            connection.drop()
            raise

    def _next_attempt(self, failed: AttemptWithBackoff | None) -> AttemptWithBackoff | None:
        """Return the next attempt to connect, or None if the connection is no longer needed."""
        with self._guard:
            if not self.policy.retries(self._counts()):
                self._nconns -= 1
                return None
        attempt = failed or Reconnection()
        attempt.update_delay(monotonic())
        return attempt

    def _give_up(self, fault: Exception) -> None:
        """End an attempt to connect that no outage made fail, and raise the error in all waiters.

        The fault is logged if it is the first since the last successful attempt.
        """
        with self._guard:
            self._nconns -= 1
            waiting = list(self._waiting)
            self._waiting.clear()
        for client in waiting:
            client.fail(_twin(fault).with_traceback(fault.__traceback__))
        if self._fault is None:
            logger.error("pool %s cannot connect, and not for an outage", self.name, exc_info=fault)
        # Without its traceback, whose frames would stay alive with all they hold.
        self._fault = _twin(fault).with_traceback(None)

    def _check_fault(self) -> None:
        """Raise the error of the last attempt to connect, if no outage made it fail."""
        if self._fault is not None:
            raise _twin(self._fault)

    def _replace(self, connection: C) -> None:
        """Close a connection, and open another if one is needed."""
        connection.drop()
        self._request_replacement()

    def _request_replacement(self) -> None:
        """Request a connection to replace one that was closed, if one is needed."""
        with self._guard:
            if self._closed:
                return
            if self.policy.replaces(self._counts()):
                self._request_connection()
            else:
                self._nconns -= 1

    def _replace_all_idle(self) -> None:
        with self._guard:
            while self._pool:
                self._replace(self._pool.popleft())

    def _maybe_grow_pool(self) -> None:
        """Open connections for the waiting leases, within ``max_size``."""
        with self._guard:
            growth = self.policy.growth(self._counts())
            self._nconns += growth
            for _ in range(growth):
                self._request_connection()

    def _top_up(self) -> None:
        """Open connections up to ``min_size``, counting those already being opened."""
        with self._guard:
            missing = self.policy.missing(self._counts())
            self._nconns += missing
            for _ in range(missing):
                self._request_connection()

    def _change_sizes(self, min_size: int, max_size: int | None) -> None:
        """Validate and set the size limits, then close or open connections to match them."""
        with self._guard:
            self._min_size, self._max_size = self._check_size(min_size, max_size)
            for _ in range(self.policy.surplus(self._counts())):
                self._replace(self._pool.popleft())
            self._top_up()
            self._maybe_grow_pool()

    def _check_size(self, min_size: int, max_size: int | None) -> tuple[int, int]:
        """Return the pool's size limits, or raise ValueError if they are invalid."""
        for name, size in (("min_size", min_size), ("max_size", max_size)):
            if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
                raise ValueError(f"{name} must be an integer, got {size!r}")
        return super()._check_size(min_size, max_size)

    def _counts(self) -> PoolCounts:
        return PoolCounts(
            min_size=self._min_size,
            max_size=self._max_size,
            total=self._nconns,
            opening=self._nconns - self.open_connections,
            idle=len(self._pool),
            waiting=len(self._waiting),
        )
