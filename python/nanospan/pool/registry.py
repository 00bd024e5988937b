"""All pools of this process, asynchronous and synchronous, with what they share."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from nanospan.pool.config import ConnectionPoolConfig
from nanospan.pool.measurements import measure
from nanospan.pool.shared_pool import SharedPool
from nanospan.pool.vector_types import TypeCache

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from nanospan.pool.conninfo import Target
    from nanospan.values.measurements import Measurement

PoolKey: TypeAlias = "tuple[str, asyncio.AbstractEventLoop | None]"
"""Which database, and in which event loop; no loop for synchronous pools."""

__all__ = ["REGISTRY", "PoolKey", "PoolRegistry", "check_config"]

logger = logging.getLogger("nanospan.pool")


class PoolRegistry:
    """The pools of a process and the types of their databases. Safe to use from any thread.

    Attributes:
        pools: Every pool.
        warm: Those that are believed to be healthy, for each event loop under the very strings
            callers pass, so that a warm call parses nothing, builds no key and reads no clock.
        types: What is known of each database.
    """

    def __init__(self) -> None:
        """Begins empty; in a forked child, too."""
        self.pools: dict[PoolKey, SharedPool[Any]] = {}
        self.warm: dict[asyncio.AbstractEventLoop | None, dict[str, SharedPool[Any]]] = {}
        self.types = TypeCache()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_to_parent)

    def _leave_to_parent(self) -> None:
        # The parent's sockets are neither used nor told goodbye, which would end its sessions.
        for shared in self.pools.values():
            shared.pool.disown()
        self.pools.clear()
        self.warm.clear()
        self.types = TypeCache()  # a look-up may have been under way

    def prepare(
        self, key: PoolKey, target: Target, config: ConnectionPoolConfig | None
    ) -> SharedPool[Any]:
        """All that a new pool needs; a closed one that it replaces leaves its users to it."""
        types = self.types.of(target.database, target.masked)
        cool = partial(self._cool, key[1])
        shared: SharedPool[Any] = SharedPool(target, config or ConnectionPoolConfig(), types, cool)
        if (closed := self.pools.get(key)) is not None:  # by someone who got it from us
            shared.references = closed.references
        return shared

    def _cool(self, loop: asyncio.AbstractEventLoop | None, shared: SharedPool[Any]) -> None:
        named = self.warm.get(loop, {})
        for alias, other in list(named.items()):
            if other is shared:
                named.pop(alias, None)
        if not named:
            self.warm.pop(loop, None)

    def forget(self, key: PoolKey) -> None:
        """Removes a pool under all its names."""
        if (shared := self.pools.pop(key, None)) is not None:
            self._cool(key[1], shared)

    def drop_dead_loops(self) -> None:
        """Removes the pools of event loops that are closed, and closes their connections."""
        for key, shared in list(self.pools.items()):
            if key[1] is not None and key[1].is_closed():
                self.forget(key)
                shared.pool.abandon()

    def take_closable(
        self, target_key: str | None, *, synchronous: bool, force: bool
    ) -> Iterator[tuple[PoolKey, SharedPool[Any]] | None]:
        """Removes the pools that may be closed, and gives them to be closed.

        Args:
            target_key: Only of this target; `None` for all.
            synchronous: Which kind of pool.
            force: Whether also those that living objects use.

        Yields:
            Each removed pool, and `None` for each that stays.
        """
        for key, shared in list(self.pools.items()):
            if target_key not in {None, key[0]} or (key[1] is None) is not synchronous:
                continue
            users = len(shared.references)
            if users and not force:
                logger.warning(
                    "pool %s stays open: %d objects use it", shared.policy.target.masked, users
                )
                yield None
            else:
                self.forget(key)
                yield key, shared

    def named(self) -> dict[str, SharedPool[Any]]:
        """Every pool under a name of its own: its masked URL, numbered where several are equal."""
        self.drop_dead_loops()
        named: dict[str, SharedPool[Any]] = {}
        for shared in list(self.pools.values()):
            masked = name = shared.policy.target.masked
            number = 1
            while name in named:
                number += 1
                name = f"{masked} ({number})"
            named[name] = shared
        return named

    def statistics(self) -> dict[str, dict[str, Any]]:
        """What `get_pool_statistics` gives."""
        return {name: shared.statistics() for name, shared in self.named().items()}

    def measurements(self) -> Iterator[Measurement]:
        """The state of every pool, for exporters."""
        return measure(self.named())


def check_config(config: object) -> None:
    """Refuses what is no settings with a `TypeError`."""
    if config is not None and not isinstance(config, ConnectionPoolConfig):
        raise TypeError(
            f"config is a ConnectionPoolConfig, not {type(config).__name__}; "
            "ConnectionPoolConfig.from_memfuse_config reads one from a mapping"
        )


REGISTRY = PoolRegistry()
"""Of this process."""
