"""The decisions of a pool, from its settings, its state and the time.

Nothing here waits, reads a clock, takes a lock or talks to a server: the pools pass in what they
know and carry out what is decided.
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
    from nanospan.pool.vector_types import DatabaseTypes

__all__ = [
    "Fitness",
    "IdleConnection",
    "PoolCounts",
    "PoolPolicy",
    "Reconnection",
    "connect_parameters",
    "is_missing_type",
]

SWEEP_INTERVAL = 1.0
"""Seconds between two sweeps of the idle connections; each costs a system call per connection."""
SHORTEST_SWEEP_INTERVAL = 0.05
"""Seconds between two sweeps if ``leak_after`` requires more frequent ones."""
MISSING_TYPE = "cache lookup failed for type"
"""PostgreSQL's message (XX000) about a parameter whose type no longer exists."""
LEAST_PATIENCE = 0.01
"""Seconds an idle connection gets to answer, however little of the caller's time is left."""


class Fitness(enum.Enum):
    """Whether an idle connection can be leased."""

    FIT = enum.auto()
    UNSURE = enum.auto()
    """The server must be asked first."""
    UNFIT = enum.auto()


class IdleConnection(Protocol):
    """The facts about an idle connection that decisions depend on."""

    @property
    def generation(self) -> int:
        """Generation of the types it was given."""

    @property
    def alive_at(self) -> float:
        """Monotonic time at which it last worked."""

    def has_unread_input(self) -> bool:
        """Return True if it is closed or received something unasked."""

    def is_expired(self, now: float) -> bool:
        """Return True if its lifetime is over."""


class PoolCounts(NamedTuple):
    """The connections and waiting leases that a pool has, and may have."""

    min_size: int
    max_size: int
    total: int
    """Connections that are idle, leased or being opened."""
    opening: int
    idle: int
    waiting: int
    """Leases that wait for a connection."""


class PoolPolicy:
    """The decisions of one pool. Immutable, and safe to use from several threads."""

    def __init__(self, config: ConnectionPoolConfig) -> None:
        """Decide by the settings in ``config``."""
        self.config = config

    @property
    def sweep_interval(self) -> float:
        """Seconds between two sweeps: short enough that leaks are reported in time."""
        leak_after = self.config.leak_after or SWEEP_INTERVAL
        return min(SWEEP_INTERVAL, max(leak_after, SHORTEST_SWEEP_INTERVAL))

    def fitness(
        self, connection: IdleConnection, types: DatabaseTypes, doubted_at: float, now: float
    ) -> Fitness:
        """Decide whether an idle connection can be leased, apart from its lifetime.

        Args:
            connection: The connection.
            types: The types of its database.
            doubted_at: Monotonic time; connections that last worked before it must be checked.
            now: The current monotonic time.
        """
        config = self.config
        current = types.current  # without a call of `is_current`, as every lease does this
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

        One that was merely idle for long is FIT: it is checked when it is leased.
        """
        if connection.is_expired(now) or not types.is_current(connection.generation):
            return Fitness.UNFIT
        return Fitness.UNSURE if connection.has_unread_input() else Fitness.FIT

    def patience(self, remaining: float) -> float:
        """Return the seconds to wait for a connection's answer.

        At most half of the ``remaining`` seconds of the lease, so that the other half is left for
        getting another connection.
        """
        return max(min(remaining / 2, self.config.connection_timeout), LEAST_PATIENCE)

    def replaces_all_idle(self, waited: float, limit: float) -> bool:
        """Return True if a health check that failed means that all idle connections are replaced.

        Args:
            waited: Seconds until the health check failed.
            limit: Its time limit. If the server was silent until then, checking each of the other
                connections would take as long.
        """
        return waited >= limit

    def growth(self, counts: PoolCounts) -> int:
        """Return how many connections to open so that each waiting lease gets one."""
        return max(min(counts.waiting - counts.opening, counts.max_size - counts.total), 0)

    def missing(self, counts: PoolCounts) -> int:
        """Return how many connections to open so that there are ``min_size``."""
        return max(counts.min_size - counts.total, 0)

    def is_surplus(self, total: int, max_size: int) -> bool:
        """Return True if a connection that comes back is closed because there are too many."""
        return total > max_size

    def surplus(self, counts: PoolCounts) -> int:
        """Return how many idle connections to close because there are more than ``max_size``."""
        return max(min(counts.total - counts.max_size, counts.idle), 0)

    def replaces(self, counts: PoolCounts) -> bool:
        """Return True if a connection that was closed, but is still counted, is replaced."""
        if self.config.null_pool and not counts.waiting:
            return False
        return not self.is_surplus(counts.total, counts.max_size)

    def retries(self, counts: PoolCounts) -> bool:
        """Return True if a connection that failed to open, but is counted, is still needed."""
        return counts.total <= counts.min_size or counts.waiting > 0


class Reconnection(AttemptWithBackoff):
    """The delays between attempts to connect to a server that cannot be reached. Never gives up.

    The delay doubles from ``FIRST`` to ``LONGEST`` seconds. Each one is drawn from its upper half,
    so that the clients of a server that comes back do not all connect at once.
    """

    FIRST = 0.1
    LONGEST = 3.0

    def __init__(self) -> None:
        super().__init__(timeout=math.inf)
        self._ceiling = self.FIRST / 2

    def update_delay(self, now: float) -> None:  # noqa: ARG002 - psycopg_pool's signature
        """Set ``delay``, in seconds, after an attempt failed."""
        self._ceiling = min(self._ceiling * 2, self.LONGEST)
        self.delay = self._ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load only


def connect_parameters(config: ConnectionPoolConfig, given: Container[str]) -> dict[str, Any]:
    """Return the arguments of ``connect`` that the settings ask for.

    Args:
        config: The settings.
        given: Names of the parameters in the connection string, which take precedence.
    """
    wanted: dict[str, Any] = {
        "connect_timeout": math.ceil(config.connection_timeout),
        "keepalives": 1,
        "keepalives_idle": config.keepalives_idle,
        "keepalives_interval": config.keepalives_interval,
        "keepalives_count": config.keepalives_count,
    }
    parameters = {name: value for name, value in wanted.items() if name not in given}
    if config.null_pool:
        # The pooler may run each transaction in a session that lacks the prepared statement.
        parameters["prepare_threshold"] = None
    return parameters


def is_missing_type(error: BaseException | None, last_message: str) -> bool:
    """Return True if a statement was refused because the server no longer has a type.

    That happens after the extension was dropped and created again, or the database restored.

    Args:
        error: The exception that left the lease's block, if any.
        last_message: The last error message of the connection. It counts as well, because the user
            may have caught the exception, or raised another one for it.
    """
    refused = isinstance(error, psycopg.errors.InternalError_) and MISSING_TYPE in str(error)
    return refused or MISSING_TYPE in last_message
