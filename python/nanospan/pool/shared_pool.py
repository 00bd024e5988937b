"""The ``SharedPool`` class: a manager's record of a pool, its users and its health."""

from __future__ import annotations

import logging
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from nanospan.pool.references import References
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.endpoint import Endpoint
    from nanospan.pool.pool_base import PolicyPool

__all__ = ["SharedPool"]

logger = logging.getLogger("nanospan.pool")

P = TypeVar("P", bound="PolicyPool", covariant=True)  # noqa: PLC0105 - a one-letter name is clear

# Counters that `get_stats` omits while they are zero.
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
    """A pool, its users, and the time until which it is considered healthy.

    Thread-safe; no method blocks.

    Attributes:
        pool: The pool, set by the manager before it shares this object.
        endpoint: The database the pool connects to.
        config: The pool's settings.
        requested: The settings, or mapping, with which the pool was last requested. A manager that
            is given this object again need not read it again.
        access: The metadata of each ``connection_pool_access`` sample: the masked URL.
        references: The objects that use the pool.
        healthy_until: Monotonic time, in seconds, until which no health check is needed; 0 once
            the pool is closed. If the event loop is blocked, the pool may be handed out after that
            time, before a timer calls ``distrust``; leases still check their connections.
    """

    pool: P

    def __init__(self, endpoint: Endpoint, on_distrust: Callable[[SharedPool[P]], None]) -> None:
        """Initialise every attribute except ``pool``, which the manager sets.

        Args:
            endpoint: The database the pool connects to.
            on_distrust: Called when the pool is no longer considered healthy.
        """
        self._on_distrust = on_distrust
        self.endpoint = endpoint
        self.config = endpoint.config
        self.requested: object = endpoint.config
        self.access = {"db_url": endpoint.target.masked}
        self.references = References()
        self.healthy_until = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self._warned_of_config = False

    def distrust(self) -> None:
        """Require a health check the next time the pool is requested."""
        self.healthy_until = 0.0
        self._on_distrust(self)

    def trust(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Mark the pool as healthy for ``health_check_interval``, unless it has been closed.

        Args:
            loop: The running event loop, in which a timer calls ``distrust`` after the interval;
                if ``None``, callers must compare ``healthy_until`` with the clock.
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
        """Log a warning, once, if ``config`` differs from the pool's own settings."""
        if config != self.config and not self._warned_of_config:
            self._warned_of_config = True
            logger.warning(
                "pool %s is already open with other settings; the requested settings are ignored",
                shorten(self.endpoint.target.masked),
            )

    def statistics(self) -> dict[str, Any]:
        """Return the pool's statistics in the format of ``PoolManager.get_pool_statistics``."""
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
