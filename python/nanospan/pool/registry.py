"""All pools of this process, asynchronous and synchronous, and the types they share."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from nanospan.pool.config import ConnectionPoolConfig
from nanospan.pool.endpoint import Endpoint
from nanospan.pool.semantic_conventions import measure
from nanospan.pool.shared_pool import SharedPool
from nanospan.pool.vector_types import TypeCache

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from nanospan.pool.conninfo import Target
    from nanospan.values.measurements import Measurement

PoolKey: TypeAlias = "tuple[str, asyncio.AbstractEventLoop | None]"
"""``Target.key`` of the database, and the event loop; ``None`` for synchronous pools."""

__all__ = ["REGISTRY", "PoolKey", "PoolRegistry", "check_config"]

logger = logging.getLogger("nanospan.pool")


class PoolRegistry:
    """The pools of a process and the types of their databases. Safe to use from any thread.

    A forked child starts with an empty registry.

    Attributes:
        pools: Every pool.
        warm: For each event loop, the pools that count as healthy, by the very strings callers
            pass, so that a call for a warm pool parses nothing, builds no key and reads no clock.
        types: The types of each database.
    """

    def __init__(self) -> None:
        self.pools: dict[PoolKey, SharedPool[Any]] = {}
        self.warm: dict[asyncio.AbstractEventLoop | None, dict[str, SharedPool[Any]]] = {}
        self.types = TypeCache()
        os.register_at_fork(after_in_child=self._reset_in_child)

    def _reset_in_child(self) -> None:
        # Closing the parent's connections properly would end its sessions on the server.
        for shared in self.pools.values():
            shared.pool.disown()
        self.pools.clear()
        self.warm.clear()
        self.types = TypeCache()  # a look-up may have been under way

    def endpoint(self, target: Target, config: ConnectionPoolConfig) -> Endpoint:
        """Return the endpoint of a database, which shares its types with all others."""
        return Endpoint(target, config, self.types.of(target.database, target.masked))

    def prepare(
        self, key: PoolKey, target: Target, config: ConnectionPoolConfig | None
    ) -> SharedPool[Any]:
        """Return all that a new pool needs; it inherits the users of a closed pool it replaces."""
        endpoint = self.endpoint(target, config or ConnectionPoolConfig())
        shared: SharedPool[Any] = SharedPool(endpoint, partial(self._remove_from_warm, key[1]))
        if (closed := self.pools.get(key)) is not None:  # closed by one of its users
            shared.references = closed.references
        return shared

    def _remove_from_warm(
        self, loop: asyncio.AbstractEventLoop | None, shared: SharedPool[Any]
    ) -> None:
        """Remove a pool from ``warm``."""
        named = self.warm.get(loop, {})
        for alias, other in list(named.items()):
            if other is shared:
                named.pop(alias, None)
        if not named:
            self.warm.pop(loop, None)

    def forget(self, key: PoolKey) -> None:
        """Remove a pool under all its names."""
        if (shared := self.pools.pop(key, None)) is not None:
            self._remove_from_warm(key[1], shared)

    def drop_dead_loops(self) -> None:
        """Remove the pools of closed event loops, and close their connections."""
        for key, shared in list(self.pools.items()):
            if key[1] is not None and key[1].is_closed():
                self.forget(key)
                shared.pool.abandon()

    def take_closable(
        self, target_key: str | None, *, synchronous: bool, force: bool
    ) -> Iterator[tuple[PoolKey, SharedPool[Any]] | None]:
        """Remove the pools that may be closed, and yield them for the caller to close.

        Args:
            target_key: ``Target.key`` of the pools; ``None`` for all.
            synchronous: Whether to take the synchronous pools or the asynchronous ones.
            force: Whether to take pools that objects still use, too.

        Yields:
            Each removed pool, and ``None`` for each that stays because objects use it.
        """
        for key, shared in list(self.pools.items()):
            if target_key not in {None, key[0]} or (key[1] is None) is not synchronous:
                continue
            users = len(shared.references)
            if users and not force:
                logger.warning(
                    "pool %s stays open: %d objects use it", shared.endpoint.target.masked, users
                )
                yield None
            else:
                self.forget(key)
                yield key, shared

    def named(self) -> dict[str, SharedPool[Any]]:
        """Return all pools by masked URL, numbered where several are equal."""
        self.drop_dead_loops()
        named: dict[str, SharedPool[Any]] = {}
        for shared in list(self.pools.values()):
            masked = name = shared.endpoint.target.masked
            number = 1
            while name in named:
                number += 1
                name = f"{masked} ({number})"
            named[name] = shared
        return named

    def statistics(self) -> dict[str, dict[str, Any]]:
        """Return what ``get_pool_statistics`` returns."""
        return {name: shared.statistics() for name, shared in self.named().items()}

    def measurements(self) -> Iterator[Measurement]:
        """Yield the state of every pool, for exporters."""
        return measure({name: shared.pool for name, shared in self.named().items()})


def check_config(config: object) -> None:
    """Raise TypeError unless ``config`` is a ConnectionPoolConfig or None."""
    if config is not None and not isinstance(config, ConnectionPoolConfig):
        raise TypeError(
            f"config must be a ConnectionPoolConfig, got {type(config).__name__}; convert a "
            "mapping with ConnectionPoolConfig.from_memfuse_config()"
        )


REGISTRY = PoolRegistry()
"""The registry of this process."""
