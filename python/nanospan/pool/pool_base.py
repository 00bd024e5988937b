"""Base class of the asynchronous and synchronous pools. Its methods never wait for I/O."""

from __future__ import annotations

import inspect
import logging
import math
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from psycopg_pool import PoolTimeout

from nanospan.pool.connections import IDLE
from nanospan.pool.errors import OUTAGE
from nanospan.pool.exhaustion import Failure, exhausted_error
from nanospan.pool.lease_table import Holder, LeaseTable
from nanospan.pool.policy import (
    UNLIMITED,
    Fitness,
    PoolPolicy,
    Reconnection,
    SessionPolicy,
    is_missing_type,
)
from nanospan.pool.pool_growth import GrowingPool
from nanospan.pool.pool_statistics import PoolStatistics
from nanospan.pool.session_state import has_changed, restore_attributes
from nanospan.recorder import process_recorder
from nanospan.values.messages import shorten, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg_pool import TooManyRequests
    from typing_extensions import Self

    from nanospan.pool.connections import Pooled
    from nanospan.pool.endpoint import Endpoint
    from nanospan.pool.errors import PoolExhausted

__all__ = ["PolicyPool"]

logger = logging.getLogger("nanospan.pool")


class PolicyPool(GrowingPool):
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
    null_pool: ClassVar[bool] = False
    _plain_class: ClassVar[type[Any]]
    """psycopg's class of connections."""

    @classmethod
    def shared(cls, endpoint: Endpoint, distrust: Callable[[], None]) -> Self:
        """Create a pool that its manager opens and shares.

        Args:
            endpoint: The database the pool connects to.
            distrust: Called when a lease times out, a connection is returned broken, or the pool
                is closed.
        """
        pool = cls.__new__(cls)
        pool._begin(endpoint, distrust, open=False)  # noqa: SLF001 - in place of the constructor
        return pool

    def _begin(
        self,
        endpoint: Endpoint,
        distrust: Callable[[], None],
        *,
        open: bool | None,  # noqa: A002 - psycopg_pool's name
        name: str | None = None,
    ) -> None:
        """Initialise the pool; constructors and ``shared`` call this."""
        self._set_up(endpoint, distrust)
        super().__init__(  # type: ignore[call-arg]  # the next class is one of psycopg_pool's four
            connection_class=endpoint.connection_class(self._plain_class),
            open=open,
            name=name or endpoint.target.masked,
            **self._arguments(),
        )
        self.close_returns = self.config.close_returns and not self.null_pool

    def _set_up(self, endpoint: Endpoint, distrust: Callable[[], None]) -> None:
        """Set the attributes that psycopg_pool's constructor does not set."""
        self.endpoint = endpoint
        self.config = endpoint.config
        self._types = endpoint.types
        self.policy: PoolPolicy = SessionPolicy(endpoint.config)
        self.leases = LeaseTable()
        self.statistics = PoolStatistics(endpoint.target.masked)
        self.disowned = False
        self._distrust = distrust
        self._doubted_at = self._answered_at = 0.0
        self._always_resets = callable(endpoint.config.reset)
        self._limit = endpoint.config.max_size or UNLIMITED
        self._busy = 0
        self._check_failure: tuple[float, str] | None = None
        self._last_failure = None
        self._failing_since = 0.0
        self._fault = None

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments of psycopg_pool's constructors, of which both kinds have the same.

        Configuring and resetting connections is not left to psycopg_pool.
        """
        config = self.config
        return {
            "conninfo": self.endpoint.conninfo,
            "kwargs": config.kwargs,
            "min_size": 0 if self.null_pool else config.min_size,
            "max_size": config.max_size,
            "check": config.check,
            "timeout": config.timeout,
            "max_waiting": config.max_waiting,
            "max_lifetime": math.inf if config.recycle is None else config.recycle,
            "max_idle": config.max_idle,
            "reconnect_timeout": config.reconnect_timeout,
            "reconnect_failed": config.reconnect_failed,
            "num_workers": config.num_workers,
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

    def exhausted(self, waited: float | None) -> PoolExhausted:
        """Count a failed lease and return the error to raise; see ``exhausted_error``."""
        self.statistics.timeouts += 1
        now = monotonic()
        failure = None
        if (connecting := self._last_failure) is not None:
            failure = Failure("attempt to connect", now - connecting[0], connecting[1])
        elif (checking := self._check_failure) is not None:
            failure = Failure("check of a connection", now - checking[0], checking[1])
        holders = self.leases.views(now)
        return exhausted_error(self.endpoint, self._counts(), holders, waited, failure)

    def lease_failed(self, connection: Pooled, error: BaseException | None) -> None:
        """Mark the pgvector types as stale if a statement failed because a type was dropped."""
        if is_missing_type(error, connection.pgconn.get_error_message()):
            self._types.distrust(monotonic())

    def is_locked_here(self) -> bool:
        """Return True if the current thread, which a signal handler interrupts, has the lock.

        Then the handler must not wait for other threads, which may need the lock.
        """
        return False

    def renew_locks(self) -> None:
        """Replace what threads of the parent may hold in a forked child; nothing by default."""

    def disown(self) -> None:
        """Forget all connections in a forked child process, because they belong to the parent."""
        self.renew_locks()
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

    def _begin_lease(self, connection: Any, holder: Holder, began: float, now: float) -> None:
        connection._pool = self  # noqa: SLF001 - keeps the end of a block from closing it
        connection.used = False
        self.leases.begin(connection, holder, now)
        if self._waiting:  # leases that queued while this connection was being checked
            self._maybe_grow_pool()
        self.statistics.wait.record(now - began)

    def _end_lease(self, connection: Any, now: float) -> bool:
        """Record the end of a lease; return True if the connection can be leased as it is.

        Raises:
            ValueError: If the connection is not leased from this pool.
        """
        try:
            is_ours = connection._pool is self  # noqa: SLF001 - psycopg_pool's; set while leased
        except AttributeError:
            is_ours = False
        if not is_ours:
            self._check_pool_putconn(connection)
        holder = self.leases.end(connection)  # of several threads, one gets the holder
        if holder is None and not self._closed:
            raise ValueError(
                f"can't return connection to pool {shown(self.name)}, it is not leased: "
                f"{connection}"
            )
        connection._pool = None  # noqa: SLF001 - it cannot be returned twice
        restore_attributes(connection)
        if holder is not None:
            held = now - holder.since
            self.statistics.hold.record(held)
            self._stats[self._USAGE_MS] += int(1000 * held)
        connection.alive_at = now
        pgconn = connection.pgconn
        if pgconn.error_message:  # from the last statement, even if its exception was caught
            self.lease_failed(connection, None)
        if pgconn.transaction_status != IDLE:
            if connection.closed:
                # The server may have ended other connections, too.
                self._distrust()
                self._doubt_idle()
            return False
        return not self._always_resets and not (
            connection.used
            and (
                self.config.reset == "discard" or connection.is_in_use() or has_changed(connection)
            )
        )

    @contextmanager
    def _cleaning(self, connection: Any) -> Iterator[None]:
        """Run the block, which cleans a returned connection, and close the connection on failure.

        Exceptions are logged, except for those that end the program or the task. The caller has
        called ``_begin_work``.
        """
        connection._pool = self  # noqa: SLF001 - keeps a block in `reset` from closing it
        try:
            if connection.is_in_use():
                logger.warning("closing returned connection that is still in use: %s", connection)
                connection.drop()
            yield
        except BaseException as exc:
            connection.drop()
            if not isinstance(exc, Exception):
                raise
            text = self.endpoint.redact(str(exc))
            logger.warning("error resetting connection %s: %s", connection, text)
        finally:
            self._end_work()

    def _is_reusable(self, connection: Pooled, now: float) -> bool:
        """Return True if a cleaned connection can be kept; otherwise replace it."""
        if self._count_if_broken(connection):
            logger.warning("discarding closed connection: %s", connection)
        elif not connection.is_expired(now, self._drained_at):
            return True
        self._replace(connection)
        return False

    def _count_if_broken(self, connection: Pooled) -> bool:
        """Return True if a returned connection is closed, and count it."""
        self._stats[self._RETURNS_BAD] += connection.closed
        return connection.closed

    @contextmanager
    def _user_check(self, connection: Any) -> Iterator[None]:
        """Run the block, which calls the user's check; if it fails, replace the connection."""
        self._begin_work()
        works = False
        connection._pool = self  # noqa: SLF001 - keeps a block in `check` from closing it
        try:
            yield
            works = not connection.closed
        except Exception as exc:  # noqa: BLE001 - the user's check may raise any
            text = self.endpoint.redact(str(exc)) or type(exc).__name__
            logger.info("a connection in pool %s failed check: %s", shorten(self.name), text)
            self._check_failure = (monotonic(), text)
        finally:
            self._end_work()
            if not works:
                self._stats[self._CONNECTIONS_LOST] += 1
                self._replace(connection)

    def _pause(self, attempt: Reconnection, began: float, deadline: float) -> float:
        """Return the seconds to wait after a failed check until another connection is tried.

        Raises:
            PoolExhausted: If the time for the lease is up.
        """
        now = monotonic()
        if now >= deadline:
            raise self._lease_error(PoolTimeout(), began)
        if self._pool:
            return 0.0
        attempt.update_delay(now)
        return min(attempt.delay, deadline - now)

    def _report_broken(self, connection: Any) -> None:
        logger.warning("discarding broken connection: %s", connection)

    def _doubt_idle(self) -> None:
        """Require a health check before any currently idle connection is leased.

        Also mark the pgvector types as stale, because another server may have taken over.
        """
        self._doubted_at = now = monotonic()
        self._types.distrust(now)

    # Idle connections

    def _pop_idle(self, now: float) -> Any:
        """Remove and return the longest-idle connection, if any; replace expired connections."""
        idle = self._pool
        while idle:
            connection = idle.popleft()
            self._nconns_min = min(self._nconns_min, len(idle))
            if not connection.is_expired(now):
                return connection
            self._replace(connection)
        return None

    def _outdated(self) -> Iterator[tuple[Any, Fitness]]:
        """Remove the idle connections that are not ``FIT``; yield each with its fitness.

        Each is removed when it is its turn, so that the others can be leased until then.
        """
        for connection in self._idle():
            with self._guard:  # a lease that takes it must not poll its socket at the same time
                if connection not in self._pool:
                    continue
                fitness = self.policy.sweep_fitness(connection, self._types, monotonic())
                if fitness is Fitness.FIT:
                    continue
                self._pool.remove(connection)
            yield connection, fitness

    def _idle(self) -> list[Any]:
        with self._guard:
            return list(self._pool)

    def _take(self, connection: Any) -> bool:
        """Remove an idle connection; return False if it is no longer idle."""
        with self._guard:
            try:
                self._pool.remove(connection)
            except ValueError:
                return False
        return True

    def _report_leaks(self) -> None:
        """Log each lease held for longer than ``leak_after``, once."""
        leak_after = self.config.leak_after
        if leak_after is None:
            return
        for holder in self.leases.overdue(leak_after, monotonic()):
            logger.warning(
                "a connection from pool %s has been held for more than %g s: %s%s",
                shorten(self.name),
                leak_after,
                holder,
                "".join(f"\n  {place}" for place in holder.stack),
            )

    @contextmanager
    def _health_check(self, connection: Any, seconds: float) -> Iterator[None]:
        """Run the block, which checks ``connection``; on failure, close and replace the connection.

        Args:
            connection: A connection that has been taken out of the pool and is not in a
                transaction.
            seconds: Time limit that the block enforces.
        """
        works = False
        began = monotonic()
        self._begin_work()
        try:
            with process_recorder().track_operation("pool_health_check", self.statistics.metadata):
                yield
            connection.alive_at = began
            works = self._types.is_current(connection.generation) and not connection.is_expired(
                began, self._drained_at
            )
        except OUTAGE as exc:
            text = self.endpoint.redact(str(exc))
            logger.info(
                "a connection in pool %s failed its health check: %s", shorten(self.name), text
            )
            self._stats[self._CONNECTIONS_LOST] += 1
            self._doubt_idle()
            if self.policy.replaces_all_idle(monotonic() - began, seconds):
                self._replace_all_idle()
        finally:
            self._end_work()
            if not works:
                self._replace(connection)
