"""One pool as a manager keeps it: with its users, its health and its figures."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from perfuse.pool.policy import PoolPolicy
from perfuse.pool.references import References

if TYPE_CHECKING:
    from perfuse.pool.config import ConnectionPoolConfig
    from perfuse.pool.conninfo import Target
    from perfuse.pool.sync_vector_pool import SyncVectorPool
    from perfuse.pool.vector_pool import VectorPool
    from perfuse.pool.vector_types import DatabaseTypes

__all__ = ["SharedPool"]

logger = logging.getLogger("perfuse.pool")

P = TypeVar("P", bound="VectorPool | SyncVectorPool", covariant=True)  # noqa: PLC0105 - one letter says it

# What `get_stats` leaves out as long as it is zero.
_COUNTERS = (
    "requests_num",
    "requests_queued",
    "requests_wait_ms",
    "requests_errors",
    "usage_ms",
    "returns_bad",
    "connections_num",
    "connections_ms",
    "connections_errors",
    "connections_lost",
)


class SharedPool(Generic[P]):
    """A pool, who uses it, and until when it is believed to be healthy. Waits for nothing.

    May be used from any thread.

    Attributes:
        pool: The pool itself, set before anybody else sees this.
        policy: Its policy.
        config: Settings equal to the pool's own; the object that was last compared with them.
        references: The objects that use it.
        healthy_until: Moment of the monotonic clock up to which no health check is needed;
            0 once the pool is closed.
    """

    pool: P

    def __init__(self, target: Target, config: ConnectionPoolConfig, types: DatabaseTypes) -> None:
        """Prepares the pool's policy; the manager makes the pool."""
        self.config = config
        self.references = References()
        self.healthy_until = 0.0
        self.policy = PoolPolicy(target, config, types, self.distrust)
        self._warned_of_config = False

    def distrust(self) -> None:
        """Makes the next use check the health."""
        self.healthy_until = 0.0

    def trust(self) -> None:
        """Notes that the pool was healthy just now, unless it was closed meanwhile."""
        if not self.pool.closed:
            self.healthy_until = monotonic() + self.config.health_check_interval

    def compare(self, config: ConnectionPoolConfig) -> None:
        """Warns, once, if `config` differs from the settings the pool was opened with."""
        if config == self.config:
            self.config = config  # the same object is recognised without comparing again
        elif not self._warned_of_config:
            self._warned_of_config = True
            logger.warning(
                "pool %s is open with other settings than asked for, and keeps them",
                self.policy.target.masked,
            )

    def statistics(self) -> dict[str, Any]:
        """Settings, users, state, psycopg_pool's counters (0 by default) and distributions."""
        pool = self.pool
        counts = {**dict.fromkeys(_COUNTERS, 0), **pool.get_stats()}
        return {
            **counts,
            "min_size": pool.min_size,
            "max_size": pool.max_size,
            "timeout": self.config.timeout,
            "recycle": self.config.recycle,
            "active_references": len(self.references),
            "pool_closed": pool.closed,
            "kind": pool.kind,
            "size": counts["pool_size"],
            "available": counts["pool_available"],
            "leased": len(self.policy.leases),
            "waiting": counts["requests_waiting"],
            **self.policy.figures(),
        }
