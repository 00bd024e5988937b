"""The part of both kinds of pool that counts, opens and replaces connections."""

from __future__ import annotations

import copy
import logging
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool.base import BasePool

from nanospan.pool.connections import IDLE, Pooled
from nanospan.pool.errors import OUTAGE
from nanospan.pool.policy import UNLIMITED, PoolCounts, PoolPolicy, Reconnection, SessionPolicy
from nanospan.pool.session_attrs import SessionAttrs
from nanospan.pool.session_state import SessionState
from nanospan.values.messages import shorten, shown

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator

    from psycopg_pool.base import AttemptWithBackoff

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.endpoint import Endpoint
    from nanospan.pool.lease_table import LeaseTable
    from nanospan.pool.pool_statistics import PoolStatistics
    from nanospan.pool.vector_types import DatabaseTypes

__all__ = ["GrowingPool"]

logger = logging.getLogger("nanospan.pool")


def _twin(fault: Exception) -> Exception:
    """Return a copy, because an exception that several tasks raise gets the frames of all."""
    try:
        return copy.copy(fault)
    except Exception:  # noqa: BLE001 - not every exception can be copied
        return fault


class GrowingPool(BasePool):
    """Counts, opens and replaces a pool's connections, as its ``PoolPolicy`` decides."""

    _closed = True  # also if the constructor fails before psycopg_pool's sets it
    endpoint: Endpoint
    config: ConnectionPoolConfig
    policy: PoolPolicy
    leases: LeaseTable
    statistics: PoolStatistics
    _types: DatabaseTypes
    _pool: deque[Any]
    _waiting: deque[Any]  # waiting clients, of different types in the two kinds of pool
    _guard: AbstractContextManager[object]
    """Held while the counts change: a reentrant lock, or in asynchronous pools a no-op."""
    _doubted_at: float
    """When a connection last failed; any that was idle then must be checked."""
    _answered_at: float
    """When the last attempt to open a connection began that succeeded."""
    _limit: int
    """The current ``max_size``, or a large number if there is no limit."""
    _busy: int
    """Number of connections that are being checked or cleaned, which may take long."""
    _last_failure: tuple[float, str] | None
    """When the last attempt to connect failed and why, if it did."""
    _failing_since: float
    """When attempts began to fail, or when this was last reported."""
    _fault: Exception | None

    @property
    def open_connections(self) -> int:
        """The number of open connections, idle or leased."""
        return len(self._pool) + len(self.leases)

    def _request_connection(self) -> None:
        """Queue a task that opens a connection; the caller has already counted the connection."""
        raise NotImplementedError

    def _connect_limit(self, timeout: float | None) -> float:
        """Return the time limit of an attempt to connect, for which a lease may wait."""
        limit = self.config.connection_timeout
        return limit if timeout is None else min(limit, timeout)

    @contextmanager
    def _watch_connect(self) -> Iterator[None]:
        """Record how long the block takes to connect, or which outage makes it fail."""
        began = monotonic()
        self._stats[self._CONNECTIONS_NUM] += 1
        try:
            yield
        except BaseException as exc:
            self._stats[self._CONNECTIONS_ERRORS] += 1
            if isinstance(exc, OUTAGE):
                self._record_failure(exc)
            raise
        with self._guard:
            failure, self._last_failure = self._last_failure, None
            self._fault = None
        if failure is not None:
            logger.info("pool %s has reconnected", shorten(self.name))
        seconds = monotonic() - began
        self._stats[self._CONNECTIONS_MS] += int(1000 * seconds)
        self.statistics.connect.record(seconds)

    def _record_failure(self, error: BaseException) -> None:
        now = monotonic()
        text = " ".join(self.endpoint.redact(str(error)).split()) or type(error).__name__
        with self._guard:  # several workers may fail at once
            is_first = self._last_failure is None
            self._last_failure = (now, text)
            if is_first:
                self._failing_since = now
        if is_first:
            logger.warning(
                "pool %s cannot connect and will keep trying: %s", shorten(self.name), text
            )

    @contextmanager
    def _prepare(self, connection: Any) -> Iterator[bool]:
        """Run the block, which configures a new connection; close it if that fails.

        Yields:
            True if the block must check the connection with the server. A pooler accepts
            connections while its server is down, so the first connection after a failure is
            checked; and whether the server meets ``target_session_attrs`` is checked for each.

        Raises:
            psycopg.ProgrammingError: If the block leaves the connection in a transaction.
        """
        began = monotonic()
        try:
            self._note_requirements(connection)
            doubted = self._doubted_at > self._answered_at
            yield doubted or connection.session_attrs is not None
            self._answered_at = began
            self._check_configured(connection)
            connection.initial = SessionState.of(connection)
            connection.alive_at = monotonic()
            connection.watch()
            self._set_connection_expiry_date(connection)
        except BaseException:
            connection.drop()
            raise

    def _note_requirements(self, connection: Pooled) -> None:
        """Note what a new connection requires of its server, unless the pool's require nothing."""
        if isinstance(self.policy, SessionPolicy):
            connection.session_attrs = SessionAttrs.of(connection.pgconn, monotonic())
            if connection.session_attrs is None:
                self.policy = PoolPolicy(self.config)

    def _check_configured(self, connection: Pooled) -> None:
        status = TransactionStatus(connection.pgconn.transaction_status)
        if status != IDLE:
            raise psycopg.ProgrammingError(
                f"connection left in status {status.name} by configure function "
                f"{shown(self.config.configure)}: discarded"
            )

    def _register_types(self, connection: Pooled) -> None:
        """Register the pgvector types on a new connection, if it does not have them yet."""
        current = self._types.current
        if current is not None:
            # The types may have changed while the connection was being opened.
            if not current.known_to(connection.adapters):
                current.register(connection.adapters, self.config.vector_values)
            connection.generation = current.generation

    def _next_attempt(self, failed: AttemptWithBackoff | None) -> AttemptWithBackoff | None:
        """Return the next attempt to connect, or None if the connection is no longer needed."""
        with self._guard:
            if not self.policy.retries(self._counts()):
                self._nconns -= 1
                return None
        now = monotonic()
        attempt = failed or Reconnection()
        attempt.update_delay(now)
        if self.config.reconnect_failed is not None:
            report_at = self._failing_since + self.config.reconnect_timeout
            if report_at > now:
                attempt.delay = min(attempt.delay, report_at - now)
        return attempt

    def _must_report(self) -> bool:
        """Return True, once in each ``reconnect_timeout``, if attempts have failed for so long."""
        now = monotonic()
        with self._guard:
            if now < self._failing_since + self.config.reconnect_timeout:
                return False
            self._failing_since = now
        return self.config.reconnect_failed is not None

    def _report_failed(self, error: BaseException) -> None:
        logger.error("reconnect_failed of pool %s failed", shorten(self.name), exc_info=error)

    def _give_up(self, fault: Exception) -> None:
        """End an attempt to connect that no outage made fail, and raise the error in all waiters.

        The fault is logged if it is the first since the last successful attempt.
        """
        with self._guard:
            self._nconns -= 1
            waiting = list(self._waiting)
            self._waiting.clear()
            is_first = self._fault is None
            # Without its traceback, whose frames would stay alive with all they hold.
            self._fault = _twin(fault).with_traceback(None)
        for client in waiting:
            client.fail(_twin(fault).with_traceback(fault.__traceback__))
        if is_first:
            logger.error(
                "pool %s cannot connect, and not for an outage", shorten(self.name), exc_info=fault
            )

    def _check_fault(self) -> None:
        """Raise the error of the last attempt to connect, if no outage made it fail."""
        if (fault := self._fault) is not None:
            raise _twin(fault)

    def _replace(self, connection: Pooled) -> None:
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

    def _begin_work(self) -> None:
        """Count a connection that is about to be checked or cleaned.

        It may not come back soon, so leases that wait for it get another.
        """
        with self._guard:
            self._busy += 1
            if self._waiting:
                self._maybe_grow_pool()

    def _end_work(self) -> None:
        with self._guard:
            self._busy -= 1

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
            self._limit = self._max_size or UNLIMITED
            for _ in range(self.policy.surplus(self._counts())):
                self._replace(self._pool.popleft())
            self._top_up()
            self._maybe_grow_pool()

    def _check_size(self, min_size: int, max_size: int | None) -> tuple[int, int]:
        """Return the pool's size limits, or raise ValueError if they are invalid."""
        for name, size in (("min_size", min_size), ("max_size", max_size)):
            if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
                raise ValueError(f"{name} must be an integer, got {shown(size)}")
        return super()._check_size(min_size, max_size)

    def _counts(self) -> PoolCounts:
        return PoolCounts(
            min_size=self._min_size,
            max_size=self._limit,
            total=self._nconns,
            opening=self._nconns - self.open_connections - self._busy,
            idle=len(self._pool),
            waiting=len(self._waiting),
        )
