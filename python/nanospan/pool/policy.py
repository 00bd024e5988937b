"""Decisions about pools, based only on the settings, the pool's state and the current time.

Nothing here waits, reads a clock, takes a lock or talks to a server: the pools pass in all the
information and carry out the decisions.
"""

from __future__ import annotations

import enum
import math
import random
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import psycopg
from psycopg_pool.base import AttemptWithBackoff

if TYPE_CHECKING:
    from collections.abc import Container

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.session_attrs import SessionAttrs
    from nanospan.pool.vector_types import DatabaseTypes

__all__ = [
    "UNLIMITED",
    "Fitness",
    "IdleConnection",
    "PoolCounts",
    "PoolPolicy",
    "Reconnection",
    "SessionPolicy",
    "connect_parameters",
    "is_missing_type",
]

SWEEP_INTERVAL = 1.0
"""Seconds between sweeps of a pool's idle connections. A sweep makes one system call for each."""
SHORTEST_SWEEP_INTERVAL = 0.05
"""Minimum seconds between sweeps of a pool, even if ``leak_after`` is shorter."""
MISSING_TYPE = "cache lookup failed for type"
"""Text of PostgreSQL's error (XX000) for a parameter whose type no longer exists."""
UNLIMITED = 2**31 - 1
"""The ``max_size`` that a null pool without a limit counts with."""
LEAST_PATIENCE = 0.01
"""Minimum seconds to wait for a health check, however little time the caller has left."""


class Fitness(enum.Enum):
    """Whether an idle connection can be leased."""

    FIT = enum.auto()
    UNSURE = enum.auto()
    """The connection must be checked with the server first."""
    UNFIT = enum.auto()


class IdleConnection(Protocol):
    """The properties of an idle connection that the policy's decisions depend on."""

    @property
    def generation(self) -> int:
        """Generation number of the pgvector types registered on the connection."""

    @property
    def alive_at(self) -> float:
        """Monotonic time, in seconds, at which the connection was last known to work."""

    @property
    def session_attrs(self) -> SessionAttrs | None:
        """The connection's requirements of its server, if any; read by ``SessionPolicy``."""

    def has_unread_input(self) -> bool:
        """Return True if the connection is closed or has received unsolicited input."""

    def is_expired(self, now: float) -> bool:
        """Return True if the connection has exceeded its lifetime."""


class PoolCounts(NamedTuple):
    """A pool's size limits and its current numbers of connections and waiting leases."""

    min_size: int
    max_size: int
    total: int
    """Number of connections that are idle, leased or being opened."""
    opening: int
    idle: int
    waiting: int
    """Number of leases waiting for a connection."""


class PoolPolicy:
    """Decides when a pool checks, opens and closes connections. Immutable and thread-safe."""

    def __init__(self, config: ConnectionPoolConfig) -> None:
        """Create a policy that applies the settings in ``config``."""
        self.config = config

    @property
    def sweep_interval(self) -> float:
        """Seconds between calls of ``sweep``: 1, or ``leak_after`` if shorter (at least 0.05)."""
        leak_after = self.config.leak_after or SWEEP_INTERVAL
        return min(SWEEP_INTERVAL, max(leak_after, SHORTEST_SWEEP_INTERVAL))

    def fitness(
        self, connection: IdleConnection, types: DatabaseTypes, doubted_at: float, now: float
    ) -> Fitness:
        """Decide whether an idle connection can be leased, without considering its age.

        Args:
            connection: The idle connection.
            types: The pgvector types of its database.
            doubted_at: Monotonic time, in seconds; a connection must be checked if it was last
                known to work at or before this time.
            now: Current monotonic time, in seconds.
        """
        config = self.config
        current = types.current  # `is_current` is inlined because every lease runs this
        if current is None or connection.generation != current.generation:
            return Fitness.UNFIT
        if (
            connection.has_unread_input()
            or connection.alive_at <= doubted_at
            or now - connection.alive_at > config.health_check_interval
            or types.stale(config.type_cache_ttl, now)
        ):
            return Fitness.UNSURE
        return Fitness.FIT

    def sweep_fitness(
        self, connection: IdleConnection, types: DatabaseTypes, now: float
    ) -> Fitness:
        """Decide whether an idle connection can stay in the pool.

        A connection that has merely been idle for a long time is FIT, because it will be checked
        before it is leased.
        """
        if connection.is_expired(now) or not types.is_current(connection.generation):
            return Fitness.UNFIT
        return Fitness.UNSURE if connection.has_unread_input() else Fitness.FIT

    def patience(self, remaining: float) -> float:
        """Return how many seconds to wait for an idle connection to answer a health check.

        This is normally at most half of the lease's ``remaining`` seconds, to leave the other half
        for getting another connection.
        """
        return max(min(remaining / 2, self.config.connection_timeout), LEAST_PATIENCE)

    def replaces_all_idle(self, waited: float, limit: float) -> bool:
        """Return True if all idle connections must be replaced after a failed health check.

        Args:
            waited: Seconds until the health check failed.
            limit: Time limit of the health check, in seconds. If it was reached, checking each of
                the other connections could take just as long.
        """
        return waited >= limit

    def growth(self, counts: PoolCounts) -> int:
        """Return how many connections to open for the waiting leases, within ``max_size``."""
        return max(min(counts.waiting - counts.opening, counts.max_size - counts.total), 0)

    def missing(self, counts: PoolCounts) -> int:
        """Return how many connections to open to reach ``min_size``."""
        return max(counts.min_size - counts.total, 0)

    def is_surplus(self, total: int, max_size: int) -> bool:
        """Return True if a returned connection must be closed because ``max_size`` is exceeded."""
        return total > max_size

    def surplus(self, counts: PoolCounts) -> int:
        """Return how many idle connections to close to get down to ``max_size``."""
        return max(min(counts.total - counts.max_size, counts.idle), 0)

    def replaces(self, counts: PoolCounts) -> bool:
        """Return True if a closed connection, which ``counts`` still includes, must be replaced."""
        if self.config.null_pool and not counts.waiting:
            return False
        return not self.is_surplus(counts.total, counts.max_size)

    def retries(self, counts: PoolCounts) -> bool:
        """Return True if a failed attempt to open a connection should be repeated.

        Args:
            counts: The pool's counts, which still include that connection.
        """
        return counts.total <= counts.min_size or counts.waiting > 0


class SessionPolicy(PoolPolicy):
    """Decides for pools whose connections have ``target_session_attrs``.

    The server is asked about each idle connection once per sweep, and before a lease if the last
    answer is older than that.
    """

    def __init__(self, config: ConnectionPoolConfig) -> None:
        """Create a policy that applies the settings in ``config``."""
        super().__init__(config)
        self._interval = self.sweep_interval

    def fitness(
        self, connection: IdleConnection, types: DatabaseTypes, doubted_at: float, now: float
    ) -> Fitness:
        """Decide as ``PoolPolicy`` does; UNSURE if the server may no longer be the right one."""
        fitness = super().fitness(connection, types, doubted_at, now)
        attrs = connection.session_attrs
        if fitness is Fitness.FIT and attrs is not None and not attrs.hold(now - self._interval):
            return Fitness.UNSURE
        return fitness

    def sweep_fitness(
        self, connection: IdleConnection, types: DatabaseTypes, now: float
    ) -> Fitness:
        """Decide as ``PoolPolicy`` does; UNSURE if a lease would soon have to ask the server."""
        fitness = super().sweep_fitness(connection, types, now)
        attrs = connection.session_attrs
        if (
            fitness is Fitness.FIT
            and attrs is not None
            and not attrs.hold(now - self._interval / 2)
        ):
            return Fitness.UNSURE
        return fitness


class Reconnection(AttemptWithBackoff):
    """Backoff delays for reconnecting to an unreachable server, without a time limit.

    The maximum delay starts at ``FIRST`` seconds and doubles with each attempt, up to ``LONGEST``
    seconds. Each delay is a random value between half the maximum and the maximum, so that clients
    do not all reconnect at once when the server is back.
    """

    FIRST = 0.1
    LONGEST = 3.0

    def __init__(self) -> None:
        super().__init__(timeout=math.inf)
        self._ceiling = self.FIRST / 2

    def update_delay(self, now: float) -> None:  # noqa: ARG002 - psycopg_pool's signature
        """Set ``delay`` to the number of seconds to wait after a failed attempt."""
        self._ceiling = min(self._ceiling * 2, self.LONGEST)
        self.delay = self._ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads load


def connect_parameters(config: ConnectionPoolConfig, given: Container[str]) -> dict[str, Any]:
    """Return the arguments for psycopg's ``connect`` that implement a pool's settings.

    Args:
        config: The pool's settings.
        given: Names of the parameters in the connection string and of the other arguments; the
            result omits these, because they take precedence.
    """
    wanted: dict[str, Any] = {
        "connect_timeout": math.ceil(config.connection_timeout),
        "keepalives": 1,
        "keepalives_idle": config.keepalives_idle,
        "keepalives_interval": config.keepalives_interval,
        "keepalives_count": config.keepalives_count,
    }
    if config.prepare_threshold != "auto":
        wanted["prepare_threshold"] = config.prepare_threshold
    elif config.null_pool:
        # The pooler may run a transaction in a session that lacks the prepared statement.
        wanted["prepare_threshold"] = None
    return {name: value for name, value in wanted.items() if name not in given}


def is_missing_type(error: BaseException | None, last_message: str) -> bool:
    """Return True if a statement failed because a type no longer exists on the server.

    This happens after the extension is dropped and recreated, or the database is restored.

    Args:
        error: The exception raised from the lease's block, if any.
        last_message: The connection's last error message. It is checked too, because the block may
            have caught the exception or replaced it with another.
    """
    refused = isinstance(error, psycopg.errors.InternalError_) and MISSING_TYPE in str(error)
    return refused or MISSING_TYPE in last_message
