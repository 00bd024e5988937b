"""One pool as a manager keeps it: with its users and until when it counts as healthy."""

from __future__ import annotations

import logging
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from nanospan.pool.references import References

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.endpoint import Endpoint
    from nanospan.pool.pool_base import PolicyPool

__all__ = ["SharedPool"]

logger = logging.getLogger("nanospan.pool")

P = TypeVar("P", bound="PolicyPool[Any]", covariant=True)  # noqa: PLC0105 - one letter says it

# What `get_stats` leaves out while it is zero.
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
    """A pool, its users, and until when it counts as healthy.

    May be used from any thread; no method waits.

    Attributes:
        pool: The pool, which the manager sets before others can see this.
        endpoint: What the pool connects to.
        config: Settings equal to the pool's own; the object that was last compared with them.
        references: The objects that use the pool.
        healthy_until: Monotonic time until which no health check is needed; 0 once the pool is
            closed. A blocked event loop may hand the pool out once more before its timer calls
            ``distrust``; leases check their connections themselves.
    """

    pool: P

    def __init__(self, endpoint: Endpoint, on_distrust: Callable[[SharedPool[P]], None]) -> None:
        """Prepare for the pool that the manager makes.

        Args:
            endpoint: What the pool connects to.
            on_distrust: Called when the pool no longer counts as healthy.
        """
        self._on_distrust = on_distrust
        self.endpoint = endpoint
        self.config = endpoint.config
        self.references = References()
        self.healthy_until = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self._warned_of_config = False

    def distrust(self) -> None:
        """Make the next use check the pool's health."""
        self.healthy_until = 0.0
        self._on_distrust(self)

    def trust(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Record that the pool was healthy just now, unless it was closed meanwhile.

        Args:
            loop: The running event loop, which calls ``distrust`` after ``health_check_interval``;
                without one, callers compare ``healthy_until`` with the clock.
        """
        if self.pool.closed:
            return
        interval = self.config.health_check_interval
        self.healthy_until = monotonic() + interval
        if loop is not None:
            if self._expiry is not None:
                self._expiry.cancel()
            self._expiry = loop.call_later(interval, _expire, weakref.ref(self))

    def compare(self, config: ConnectionPoolConfig) -> None:
        """Warn, once, if ``config`` differs from the settings the pool was opened with."""
        if config == self.config:
            self.config = config  # so that the same object is recognised without comparing again
        elif not self._warned_of_config:
            self._warned_of_config = True
            logger.warning(
                "pool %s is open with other settings than asked for, and keeps them",
                self.endpoint.target.masked,
            )

    def statistics(self) -> dict[str, Any]:
        """Return settings, users, state, psycopg_pool's counters and distributions."""
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
            "leased": len(pool.leases),
            "waiting": counts["requests_waiting"],
            **pool.statistics.as_dict(),
            "holders": [
                {
                    "label": holder.label,
                    "owner": holder.owner,
                    "seconds": holder.seconds,
                    "stack": list(holder.stack),
                }
                for holder in pool.leases.views(monotonic())
            ],
        }


def _expire(reference: weakref.ref[SharedPool[Any]]) -> None:
    if (shared := reference()) is not None:
        shared.distrust()
