"""Base class of the asynchronous and synchronous pool managers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from nanospan.pool.conninfo import Target, default_conninfo, mask_conninfo
from nanospan.pool.errors import ConninfoError
from nanospan.pool.registry import REGISTRY
from nanospan.pool.warmup import check_urls
from nanospan.recorder import process_recorder

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from typing_extensions import Self

    from nanospan.pool.conninfo import Conninfo
    from nanospan.pool.pool_base import PolicyPool
    from nanospan.pool.shared_pool import SharedPool

__all__ = ["PoolManager", "existing_manager"]

P = TypeVar("P", bound="PolicyPool")


class PoolManager(Generic[P]):
    """Base class of the pool managers: singletons that share pools throughout the process.

    Attributes:
        kind: The kind of pools the manager shares: ``async`` or ``sync``.
    """

    kind: ClassVar[str]
    _instances: ClassVar[dict[str, PoolManager[Any]]] = {}

    def __new__(cls) -> Self:
        """Return the only instance of this class, creating it on the first call."""
        if (instance := PoolManager._instances.get(cls.kind)) is None:
            # A signal handler, or another thread, may do the same: the first one is kept.
            made = super().__new__(cls)
            made._set_up()
            instance = PoolManager._instances.setdefault(cls.kind, made)
        return cast("Self", instance)

    def _set_up(self) -> None:
        """Set the attributes; effects on other objects must be the same if this is called again."""
        self._forget_openings()
        recorder = process_recorder()
        recorder.add_source(REGISTRY.measurements)
        self._track_access = recorder.operation("connection_pool_access").track
        # By event loop and connection string.
        self._warm = cast("dict[Any, dict[Conninfo, SharedPool[P]]]", REGISTRY.warm)

    def _forget_openings(self) -> None:
        """Reset the record of pools that are being opened or checked."""
        raise NotImplementedError

    @staticmethod
    def _reset_all_in_child() -> None:
        for manager in PoolManager._instances.values():
            manager._forget_openings()  # noqa: SLF001 - defined in this class

    def get_pool_statistics(self) -> dict[str, dict[str, Any]]:
        """Return the settings, state, counters and distributions of every pool in the process.

        Pools with equal masked URLs, such as pools that belong to different event loops or have
        different passwords, are distinguished by a number: ``postgresql://...``,
        ``postgresql://... (2)``.

        Returns:
            One dictionary per asynchronous or synchronous pool, keyed by masked URL. Each contains
            the settings ``min_size, max_size, timeout, recycle``; the state ``kind, size,
            available, leased, waiting, pool_closed, active_references``; psycopg_pool's counters;
            ``errors``, the number of failed leases; ``wait``, ``hold`` and ``connect``, each
            with ``count`` and ``p50, p95, p99`` in seconds; and ``holders``, the current leases,
            longest first.
        """
        return REGISTRY.statistics()

    def _urls_to_warm(
        self, given: Iterable[Conninfo] | None, loop: asyncio.AbstractEventLoop | None
    ) -> list[Conninfo]:
        """Return the URLs to warm up: those given, or of the open pools and the environment."""
        if given is not None:
            return check_urls(given)
        known = {
            key: shared.endpoint.conninfo
            for (key, its_loop), shared in REGISTRY.pools.items()
            if its_loop is loop and not shared.pool.closed
        }
        default = default_conninfo()
        if default is not None:
            try:
                known.setdefault(Target.parse(default).key, default)
            except ConninfoError:
                known[default] = default  # its warm-up reports the error
        return list(known.values())

    @staticmethod
    def _new_access(db_url: Conninfo) -> dict[str, str]:
        """Return the metadata of an access to a pool that is not open yet, or must be checked."""
        return {"db_url": mask_conninfo(db_url)}

    def _find(
        self, target_key: str, loop: asyncio.AbstractEventLoop | None
    ) -> SharedPool[P] | None:
        """Return the open pool for a database and event loop, or None if there is no such pool."""
        shared = cast("SharedPool[P] | None", REGISTRY.pools.get((target_key, loop)))
        return None if shared is None or shared.pool.closed else shared


os.register_at_fork(after_in_child=PoolManager._reset_all_in_child)  # noqa: SLF001 - a hook


def existing_manager(kind: str) -> PoolManager[Any] | None:
    """Return the manager of one kind of pools, or None if it has not been created."""
    return PoolManager._instances.get(kind)  # noqa: SLF001 - defined in this module
