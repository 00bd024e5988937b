"""One pool as a manager keeps it: with its users, its health and its figures."""

from __future__ import annotations

import logging
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from nanospan.pool.policy import PoolPolicy
from nanospan.pool.references import References

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.conninfo import Target
    from nanospan.pool.sync_vector_pool import SyncVectorPool
    from nanospan.pool.vector_pool import VectorPool
    from nanospan.pool.vector_types import DatabaseTypes

__all__ = ["SharedPool"]

logger = logging.getLogger("nanospan.pool")

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
            0 once the pool is closed. An event loop that was blocked then may give the pool once
            more before its timer ends the trust; leases check their connections themselves.
    """

    pool: P

    def __init__(
        self,
        target: Target,
        config: ConnectionPoolConfig,
        types: DatabaseTypes,
        cool: Callable[[SharedPool[P]], None],
    ) -> None:
        """Prepares the pool's policy; the manager makes the pool.

        Args:
            target: The database.
            config: The pool's settings.
            types: What is known of the database's types.
            cool: Called when the pool is no longer believed to be healthy.
        """
        self._cool = cool
        self.config = config
        self.references = References()
        self.healthy_until = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self.policy = PoolPolicy(target, config, types, self.distrust)
        self._warned_of_config = False

    def distrust(self) -> None:
        """Makes the next use check the health."""
        self.healthy_until = 0.0
        self._cool(self)

    def trust(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Notes that the pool was healthy just now, unless it was closed meanwhile.

        Args:
            loop: The running event loop, which ends the trust in time; without one, who asks looks
                at `healthy_until`.
        """
        if self.pool.closed:
            return
        self.healthy_until = monotonic() + self.config.health_check_interval
        if loop is not None:
            if self._expiry is not None:
                self._expiry.cancel()
            interval = self.config.health_check_interval
            self._expiry = loop.call_later(interval, _expire, weakref.ref(self))

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


def _expire(reference: weakref.ref[SharedPool[Any]]) -> None:
    if (shared := reference()) is not None:
        shared.distrust()
