"""What asynchronous and synchronous pools have in common: their decisions and their memory.

Nothing here waits or talks to a server; the pools do, and ask here what to do.
"""

from __future__ import annotations

import enum
import logging
import math
import random
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

from nanospan import PerformanceMonitor, get_performance_monitor
from nanospan.pool.errors import PoolExhausted, PoolOverloaded
from nanospan.pool.leases import LeaseTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanospan import Snapshot, Span
    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.connections import Pooled
    from nanospan.pool.conninfo import Target
    from nanospan.pool.vector_types import DatabaseTypes

__all__ = ["Endpoint", "Fitness", "PoolPolicy", "Reconnection"]

logger = logging.getLogger("nanospan.pool")

SWEEP_INTERVAL = 1.0
"""Seconds between two looks at the idle connections, a system call each and no round trip."""
SHORTEST_SWEEP_INTERVAL = 0.05
"""The same, where leases are reported as leaks earlier than that."""
GONE_TYPE = "cache lookup failed for type"
"""What PostgreSQL says (XX000) about a parameter of a type that it no longer has."""
LEAST_PATIENCE = 0.01
"""Seconds an idle connection has for its answer however soon the caller's time is up."""
HOLDERS_NAMED = 5
"""Leases that the error of an exhausted pool names."""


class Fitness(enum.Enum):
    """Whether an idle connection can be leased."""

    FIT = enum.auto()
    UNSURE = enum.auto()  # until the server was asked
    UNFIT = enum.auto()


class Reconnection:
    """When to try again to connect to a server that cannot be reached.

    The delay doubles from `FIRST` to `LONGEST`, each time drawn from its upper half, so that the
    clients of a server that comes back do not all call at once.
    """

    FIRST = 0.1
    LONGEST = 3.0

    def __init__(self) -> None:
        """Begins before the first attempt."""
        self._ceiling = self.FIRST / 2

    def next_delay(self) -> float:
        """Seconds until the next attempt, after one failed."""
        self._ceiling = min(self._ceiling * 2, self.LONGEST)
        return self._ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load only


class Endpoint:
    """A database, how to connect to it, and what is known of its types.

    Attributes:
        target: What to connect to.
        config: The settings.
        types: The types of that database.
    """

    def __init__(self, target: Target, config: ConnectionPoolConfig, types: DatabaseTypes) -> None:
        """Puts them together."""
        self.target = target
        self.config = config
        self.types = types

    def connect_parameters(self) -> dict[str, Any]:
        """Arguments of `connect` for the settings; those in the connection string win."""
        config = self.config
        wanted = {
            "connect_timeout": math.ceil(config.connection_timeout),
            "keepalives": 1,
            "keepalives_idle": config.keepalives_idle,
            "keepalives_interval": config.keepalives_interval,
            "keepalives_count": config.keepalives_count,
        }
        parameters: dict[str, Any] = {
            name: value for name, value in wanted.items() if name not in self.target.params
        }
        if config.null_pool:
            # The pooler behind may give each transaction another session, not the prepared one.
            parameters["prepare_threshold"] = None
        return parameters


class PoolPolicy(Endpoint):
    """The decisions and the memory of one pool. Safe to use from several threads.

    Attributes:
        leases: Who holds its connections.
        wait: How long leases waited; recorded in seconds.
        hold: How long connections were held.
        connect: How long connecting took.
        timeouts: Leases that failed because no connection came in time.
        disowned: Whether the pool belongs to the process this one was forked from.
    """

    def __init__(
        self,
        target: Target,
        config: ConnectionPoolConfig,
        types: DatabaseTypes,
        distrust: Callable[[], None],
    ) -> None:
        """Begins without a connection.

        Args:
            target: What the pool connects to.
            config: Its settings.
            types: The types of that database.
            distrust: Called when a lease failed or came back broken, or the pool was closed.
        """
        super().__init__(target, config, types)
        self.distrust = distrust
        self.leases = LeaseTable()
        # Of its own, as the process's monitor sums up over pools; histograms are all it is for.
        monitor = PerformanceMonitor(1)
        self.wait = monitor.operation("wait")
        self.hold = monitor.operation("hold")
        self.connect = monitor.operation("connect")
        self._lease_operation = get_performance_monitor().operation("connection_lease")
        # One dict for all leases: samples share what they have in common.
        self._of_this_pool = {"pool": target.masked}
        self.timeouts = 0
        self.disowned = False
        self._parameters = self.connect_parameters()
        self._doubted_at = 0.0
        self._last_failure: tuple[float, str] | None = None

    def track_lease(self) -> Span:
        """A new span of `connection_lease`, whose metadata name the pool, credentials masked."""
        return self._lease_operation.track(self._of_this_pool)

    @property
    def sweep_interval(self) -> float:
        """Seconds between two sweeps."""
        leak_after = self.config.leak_after or SWEEP_INTERVAL
        return min(SWEEP_INTERVAL, max(leak_after, SHORTEST_SWEEP_INTERVAL))

    def connect_arguments(self) -> dict[str, Any]:
        """Arguments of `connect` at this moment."""
        current = self.types.current
        return {**self._parameters, "context": current.adapters if current else None}

    def fitness(self, connection: Pooled, now: float) -> Fitness:
        """Whether a connection can be leased at the moment `now`, its lifetime aside."""
        config = self.config
        current = self.types.current
        if current is None or connection.generation != current.generation:
            return Fitness.UNFIT
        if (
            connection.has_news()
            or connection.alive_at <= self._doubted_at
            or now - connection.alive_at > config.health_check_interval
            or self.types.stale(config.type_cache_ttl, now)
        ):
            return Fitness.UNSURE
        return Fitness.FIT

    def is_current(self, connection: Pooled) -> bool:
        """Whether the connection knows the types of now."""
        current = self.types.current
        return current is not None and connection.generation == current.generation

    def is_outdated(self, connection: Pooled, now: float) -> bool:
        """Whether an idle connection would not be leased any more, or needs a look at least."""
        return (
            connection.has_news()
            or connection.is_expired(now)
            or self.fitness(connection, now) is Fitness.UNFIT
        )

    def sweeping_fitness(self, connection: Pooled, now: float) -> Fitness:
        """Whether an outdated connection can stay in the pool."""
        return Fitness.UNFIT if connection.is_expired(now) else self.fitness(connection, now)

    def patience(self, remaining: float) -> float:
        """Seconds to wait for the answer of a connection, so that another can be had in time."""
        return max(min(remaining / 2, self.config.connection_timeout), LEAST_PATIENCE)

    def doubt_idle(self) -> None:
        """Has every connection that is idle now asked before it is leased again."""
        self._doubted_at = monotonic()

    def welcome(self, connection: Pooled) -> None:
        """Prepares a new connection, the types having been looked up."""
        current = self.types.current
        if current is not None:
            # They may have changed while the connection was being made.
            if not current.known_to(connection.adapters):  # type: ignore[attr-defined]
                current.register(connection.adapters)  # type: ignore[attr-defined]
            connection.generation = current.generation
        connection.alive_at = monotonic()
        connection.watch()

    def connect_failed(self, error: BaseException) -> None:
        """Remembers why connecting failed, for leases that fail for it; logs the first in a row."""
        text = " ".join(self.target.redact(str(error)).split()) or type(error).__name__
        if self._last_failure is None:
            logger.warning(
                "pool %s cannot connect, and goes on trying: %s", self.target.masked, text
            )
        self._last_failure = (monotonic(), text)

    def connect_succeeded(self, seconds: float) -> None:
        """Remembers that connecting works, and how long it took."""
        if self._last_failure is not None:
            logger.info("pool %s connects again", self.target.masked)
            self._last_failure = None
        self.connect.record(seconds)

    def lease_failed(self, connection: Pooled, error: BaseException | None) -> None:
        """Learns from a lease's block that ended in an error or a failed transaction.

        A statement is refused because a type is gone when the extension was created anew, or the
        database restored. The user may have caught that, or raised an error of his own for it, so
        what the connection failed with last counts as well.
        """
        refused = isinstance(error, psycopg.errors.InternalError_) and GONE_TYPE in str(error)
        if refused or GONE_TYPE in connection.pgconn.get_error_message():
            self.types.distrust()

    def lease_broke(self) -> None:
        """Learns that a connection came back closed: the server may have ended others, too."""
        self.distrust()
        self.doubt_idle()

    def exhausted(
        self, sizes: tuple[int, int], waiting: int, waited: float | None
    ) -> PoolExhausted:
        """The error of a lease that failed.

        Args:
            sizes: `min_size` and `max_size` of the pool.
            waiting: How many other leases wait.
            waited: For how long this one did; `None` if `max_waiting` forbade it.
        """
        self.timeouts += 1
        min_size, max_size = sizes
        holders = self.leases.views()
        leased = len(holders)
        where = f"pool {self.target.masked}"
        if waited is None:
            kind: type[PoolExhausted] = PoolOverloaded
            lines = [f"{where} is exhausted: {waiting} leases wait already (max_waiting)"]
        else:
            kind = PoolExhausted
            lines = [f"no connection from {where} within {waited:.2f} s"]
        lines.append(
            f"  {leased} of at most {max_size} connections are leased "
            f"(min_size {min_size}), {waiting} other leases wait"
        )
        lines += [f"  held for {holder}" for holder in holders[:HOLDERS_NAMED]]
        if leased > HOLDERS_NAMED:
            lines.append(f"  and {leased - HOLDERS_NAMED} more")
        lines.append(self._advice(leased, max_size))
        error = kind("\n".join(lines))
        error.pool = self.target.masked
        error.min_size, error.max_size = min_size, max_size
        error.leased, error.waiting, error.holders = leased, waiting, holders[:HOLDERS_NAMED]
        return error

    def report_leaks(self) -> None:
        """Logs each lease held for longer than `leak_after`, once."""
        if self.config.leak_after is None:
            return
        for holder in self.leases.overdue(self.config.leak_after):
            logger.warning(
                "a connection of pool %s has been held for more than %g s: %s%s",
                self.target.masked,
                self.config.leak_after,
                holder,
                "".join(f"\n  {place}" for place in holder.stack),
            )

    def figures(self) -> dict[str, Any]:
        """The distributions and the holders, as `get_pool_statistics` shows them."""
        return {
            "errors": self.timeouts,
            "wait": _summary(self.wait.snapshot()),
            "hold": _summary(self.hold.snapshot()),
            "connect": _summary(self.connect.snapshot()),
            "holders": [
                {
                    "label": holder.label,
                    "owner": holder.owner,
                    "seconds": holder.seconds,
                    "stack": list(holder.stack),
                }
                for holder in self.leases.views()
            ],
        }

    def _advice(self, leased: int, max_size: int) -> str:
        if self._last_failure is not None and leased < max_size:
            at, text = self._last_failure
            return (
                f"  the last attempt to connect failed {monotonic() - at:.1f} s ago: {text}\n"
                "  to change: bring the server back, or raise its max_connections"
            )
        return (
            "  to change: hold connections for a shorter time, or raise max_size "
            f"({max_size}) or timeout ({self.config.timeout:g} s)"
            + ("" if self.config.capture_stacks else "; capture_stacks=True shows where they are")
        )


def _summary(snapshot: Snapshot) -> dict[str, float]:
    return {
        "count": snapshot.count,
        **{
            name: snapshot.quantile(q) or 0.0
            for name, q in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
        },
    }
