"""One pool as the manager keeps it: with its users, its health and its figures."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

from perfuse import get_performance_monitor
from perfuse.pool.deadline import within
from perfuse.pool.opening import open_pool, reach_server

if TYPE_CHECKING:
    from perfuse.pool.config import ConnectionPoolConfig
    from perfuse.pool.connections import VectorPool
    from perfuse.pool.conninfo import Target
    from perfuse.pool.references import References
    from perfuse.pool.vector_types import DatabaseTypes

__all__ = ["SharedPool"]

logger = logging.getLogger(__name__)

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


class SharedPool:
    """A pool, who uses it, and until when it is believed to be healthy.

    Belongs to one event loop; `statistics` and `references` may be used from any thread.

    Attributes:
        healthy_until: Moment of the monotonic clock up to which no health check is needed.
    """

    def __init__(
        self,
        target: Target,
        config: ConnectionPoolConfig,
        types: DatabaseTypes,
        references: References,
    ) -> None:
        """Prepares the pool; `open` starts it."""
        self.target = target
        self.config = config
        self.references = references
        self.healthy_until = 0.0
        self.pool: VectorPool
        self._types = types
        self._warned_of_config = False

    async def open(self) -> None:
        """Opens the pool.

        Raises:
            PoolOpenError: If the server cannot be reached in time, or refuses.
        """
        self.pool = await open_pool(self.target, self.config, self._types, self.distrust)
        self._trust()

    def distrust(self) -> None:
        """Makes the next use check the health."""
        self.healthy_until = 0.0

    async def check_health(self) -> None:
        """Asks the server whether the pool works, and whether the types changed.

        Timed as `pool_health_check`. Where the answer through a lease fails, the idle connections
        are replaced and a new connection decides. A pool whose connections are all in use is not
        asked: that would wait for its users, who notice a failure themselves.

        Raises:
            PoolOpenError: If the server does not answer within `connection_timeout`, or refuses.
        """
        if self.pool.busy:
            return
        half = self.config.connection_timeout / 2
        with get_performance_monitor().track_operation("pool_health_check"):
            try:
                await within(half, self._ask(half))
            except (psycopg.Error, OSError, asyncio.TimeoutError):
                self.distrust()
                await self.pool.drain()
                await reach_server(self.target, self.config, self._types, half)
        self._trust()

    def compare(self, config: ConnectionPoolConfig) -> None:
        """Warns, once, if `config` differs from the settings the pool was opened with."""
        if config == self.config:
            self.config = config  # the same object is recognised without comparing again
        elif not self._warned_of_config:
            self._warned_of_config = True
            logger.warning(
                "pool %s is open with other settings than asked for, and keeps them",
                self.target.masked,
            )

    def statistics(self) -> dict[str, Any]:
        """Settings, users and psycopg_pool's counters, which default to 0 here."""
        return {
            **dict.fromkeys(_COUNTERS, 0),
            **self.pool.get_stats(),
            "min_size": self.pool.min_size,
            "max_size": self.pool.max_size,
            "timeout": self.config.timeout,
            "recycle": self.config.recycle,
            "active_references": len(self.references),
            "pool_closed": self.pool.closed,
        }

    def _trust(self) -> None:
        self.healthy_until = monotonic() + self.config.health_check_interval

    async def _ask(self, seconds: float) -> None:
        async with self.pool.connection(timeout=seconds) as connection:
            await self._types.refresh(connection)
