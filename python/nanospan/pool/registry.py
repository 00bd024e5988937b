"""The process-wide registry of pools and of the pgvector types known for each database."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from nanospan import _core
from nanospan.pool.config import default_config
from nanospan.pool.conninfo import check_kwargs
from nanospan.pool.endpoint import Endpoint
from nanospan.pool.semantic_conventions import measure
from nanospan.pool.shared_pool import SharedPool
from nanospan.pool.vector_types import TypeCache
from nanospan.pool.vector_values import require
from nanospan.reentrant import LiveObjects
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Mapping

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.conninfo import Conninfo, Target
    from nanospan.pool.pool_base import PolicyPool
    from nanospan.values.measurements import Measurement

PoolKey: TypeAlias = "tuple[str, asyncio.AbstractEventLoop | None]"
"""A database's ``Target.key`` and the pool's event loop (``None`` for synchronous pools)."""

__all__ = ["REGISTRY", "PoolKey", "PoolRegistry"]

logger = logging.getLogger("nanospan.pool")


class PoolRegistry:
    """The pools of a process and the pgvector types of their databases. Thread-safe.

    No lock is held, so signal handlers may use it at any moment. A forked child starts with an
    empty registry.

    Attributes:
        warm: The pools considered healthy, keyed by event loop and then by the exact connection
            string a caller passed, so that a warm pool is found without parsing that string or
            reading the clock.
        types: The pgvector types of each database.
        own_pools: The pools that the program has constructed itself.
    """

    def __init__(self) -> None:
        self._pools: _core.Atomic[Mapping[PoolKey, SharedPool[Any]]] = _core.Atomic({})
        self.warm: dict[asyncio.AbstractEventLoop | None, dict[Conninfo, SharedPool[Any]]] = {}
        self.types = TypeCache()
        self.own_pools: LiveObjects[PolicyPool] = LiveObjects()
        self._names: _core.Atomic[Mapping[PoolKey, str]] = _core.Atomic({})
        os.register_at_fork(after_in_child=self._reset_in_child)

    def _reset_in_child(self) -> None:
        # Closing the connections properly would end the parent's sessions on the server.
        for shared in self.pools.values():
            shared.pool.disown()
        for pool in self.own_pools.all():
            pool.renew_locks()
            if not pool.closed:  # one that was never opened can be opened in the child
                pool.disown()
        self.clear()
        self.types = TypeCache()  # a look-up may have been in progress in the parent

    @property
    def pools(self) -> Mapping[PoolKey, SharedPool[Any]]:
        """Every pool, keyed by database and event loop. Replaced, never modified."""
        return self._pools.get()

    def publish(self, key: PoolKey, shared: SharedPool[Any]) -> SharedPool[Any]:
        """Add a pool that was just opened, in the place of a closed one if there is one.

        Returns:
            The pool to use: if another was opened meanwhile, that one; the caller must then close
            its own.
        """

        def add(pools: Mapping[PoolKey, SharedPool[Any]]) -> Mapping[PoolKey, SharedPool[Any]]:
            other = pools.get(key)
            is_free = other is None or other.pool.closed
            return {**pools, key: shared} if is_free else pools

        return self._pools.update(add)[key]

    def clear(self) -> None:
        """Forget every pool, without closing it."""
        self._pools.update(lambda _: {})
        self._names.update(lambda _: {})
        self.warm.clear()

    def endpoint(
        self, target: Target, config: ConnectionPoolConfig, conninfo: Conninfo | None = None
    ) -> Endpoint:
        """Create an endpoint for ``target`` that shares the pgvector types of its database.

        Args:
            target: The parsed connection string.
            config: The settings.
            conninfo: The function that returned the connection string, if one did.

        Raises:
            ImportError: If a package for ``vector_values`` is missing.
        """
        require(config.vector_values)
        types = self.types.of(target.database, target.masked)
        return Endpoint(target, config, types, conninfo)

    def prepare(
        self,
        key: PoolKey,
        target: Target,
        config: ConnectionPoolConfig | None,
        conninfo: Conninfo,
    ) -> SharedPool[Any]:
        """Return a ``SharedPool`` for a pool that the caller is about to open.

        Without a ``config``, the process's default settings apply.
        If the new pool replaces a closed one, the users of the closed pool become users of the
        new one.

        Raises:
            ValueError: If the settings' ``kwargs`` name another server, database or role than the
                connection string, by which the pool is shared.
        """
        config = config or default_config()
        check_kwargs(config.kwargs)
        endpoint = self.endpoint(target, config, conninfo)
        shared: SharedPool[Any] = SharedPool(endpoint, partial(self._remove_from_warm, key[1]))
        if (closed := self.pools.get(key)) is not None:  # closed by one of its users
            shared.references = closed.references
        return shared

    def _remove_from_warm(
        self, loop: asyncio.AbstractEventLoop | None, shared: SharedPool[Any]
    ) -> None:
        """Remove all of a pool's entries, one for each connection string, from ``warm``."""
        named = self.warm.get(loop, {})
        for alias, other in list(named.items()):
            if other is shared:
                named.pop(alias, None)
        if not named:
            self.warm.pop(loop, None)

    def forget(self, key: PoolKey) -> None:
        """Remove a pool from ``pools``, and all of its entries from ``warm``."""
        shared: SharedPool[Any] | None = None

        def remove(pools: Mapping[PoolKey, SharedPool[Any]]) -> Mapping[PoolKey, SharedPool[Any]]:
            nonlocal shared
            shared = pools.get(key)
            return {other: pool for other, pool in pools.items() if other != key}

        self._pools.update(remove)
        if shared is not None:
            self._remove_from_warm(key[1], shared)

    def drop_dead_loops(self) -> None:
        """Remove the pools of closed event loops, and close their connections."""
        for key, shared in self.pools.items():
            if key[1] is not None and key[1].is_closed():
                self.forget(key)
                shared.pool.abandon()

    def take_closable(
        self, target_key: str | None, *, synchronous: bool, force: bool
    ) -> Iterator[tuple[PoolKey, SharedPool[Any]] | None]:
        """Remove the pools that may be closed, and yield them for the caller to close.

        Args:
            target_key: ``Target.key`` of the pools to remove; ``None`` for all pools.
            synchronous: Whether to remove synchronous pools rather than asynchronous ones.
            force: Whether to also remove pools that are still in use.

        Yields:
            The key and pool of each removed pool, and ``None`` for each pool still in use.
        """
        for key, shared in self.pools.items():
            if target_key not in {None, key[0]} or (key[1] is None) is not synchronous:
                continue
            users = len(shared.references)
            if users and not force:
                logger.warning(
                    "pool %s stays open because it is in use by %d object(s)",
                    shorten(shared.endpoint.target.masked),
                    users,
                )
                yield None
            else:
                self.forget(key)
                yield key, shared

    def named(self) -> dict[str, SharedPool[Any]]:
        """Return all pools keyed by masked URL; a number is appended to repeated URLs.

        A pool keeps its name while it is in the registry, so that the series that are exported
        under that name remain those of one pool.
        """
        self.drop_dead_loops()
        pools = self.pools

        def choose(before: Mapping[PoolKey, str]) -> Mapping[PoolKey, str]:
            names = {key: name for key, name in before.items() if key in pools}
            taken = set(names.values())
            for key in [key for key in pools if key not in names]:
                masked = name = pools[key].endpoint.target.masked
                number = 1
                while name in taken:
                    number += 1
                    name = f"{masked} ({number})"
                names[key] = name
                taken.add(name)
            return names

        names = self._names.update(choose)
        return {names[key]: shared for key, shared in pools.items()}

    def statistics(self) -> dict[str, dict[str, Any]]:
        """Return the statistics of every pool; see ``PoolManager.get_pool_statistics``."""
        return {name: shared.statistics() for name, shared in self.named().items()}

    def measurements(self) -> Iterator[Measurement]:
        """Yield measurements of every pool's state, for exporters."""
        return measure({name: shared.pool for name, shared in self.named().items()})


REGISTRY = PoolRegistry()
"""The process-wide registry."""
