"""Pools of a class that a test has put in the place of ``AsyncConnectionPool``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from nanospan.compat.memfuse.application_config import application_config
from nanospan.pool.config import as_config, default_config
from nanospan.pool.references import References
from nanospan.pool.tasks import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nanospan.pool.config import AnyConfig, ConnectionPoolConfig

__all__ = ["ReplacedPool", "ReplacedPools"]


class ReplacedPool:
    """A pool of the replacement's making, with what a manager knows about it.

    Attributes:
        pool: What the replacement returned.
        config: The settings it was called with.
        references: The objects that use the pool.
    """

    def __init__(self, pool: Any, config: ConnectionPoolConfig) -> None:
        self.pool = pool
        self.config = config
        self.references = References()

    def statistics(self) -> dict[str, Any]:
        """Return the statistics that do not depend on the pool's class."""
        return {
            "min_size": self.config.min_size,
            "max_size": self.config.max_size,
            "timeout": self.config.timeout,
            "recycle": self.config.recycle,
            "active_references": len(self.references),
            "pool_closed": bool(self.pool.closed),
        }


class ReplacedPools(dict[str, ReplacedPool]):
    """The replaced pools of a manager, keyed by the connection string they were requested with.

    Args:
        configure: Prepares a new connection; passed to the replacement.
    """

    def __init__(self, configure: Callable[[Any], Any]) -> None:
        super().__init__()
        self._configure = configure
        self._openings: SingleFlight[object, ReplacedPool] = SingleFlight()

    async def find_or_open(
        self, replacement: Callable[..., Any], db_url: str, config: AnyConfig | None
    ) -> ReplacedPool:
        """Return the open pool for ``db_url``; concurrent first requests open only one.

        Args:
            replacement: Called as ``psycopg_pool.AsyncConnectionPool`` to create a pool.
            db_url: A connection string.
            config: Settings for a new pool.
        """
        known = self.get(db_url)
        if known is not None and not known.pool.closed:
            return known
        key = (db_url, asyncio.get_running_loop())
        return await self._openings.do(key, lambda: self._open(replacement, db_url, config))

    async def _open(
        self, replacement: Callable[..., Any], db_url: str, config: AnyConfig | None
    ) -> ReplacedPool:
        settings = as_config(config or application_config()) or default_config()
        pool = replacement(
            db_url,
            min_size=settings.min_size,
            max_size=settings.max_size,
            timeout=settings.timeout,
            open=False,
            configure=self._configure,
        )
        await asyncio.wait_for(pool.open(), settings.connection_timeout)
        self[db_url] = ReplacedPool(pool, settings)
        return self[db_url]

    async def close(self, urls: Iterable[str], *, force: bool) -> bool:
        """Close pools, except pools in use, which are closed only with ``force``.

        Returns:
            False if a pool stays open, otherwise True.
        """
        all_closed = True
        for url in [url for url in urls if url in self]:
            if self[url].references and not force:
                all_closed = False
            else:
                await self.pop(url).pool.close()
        return all_closed
