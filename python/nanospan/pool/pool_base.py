"""What the asynchronous and the synchronous pool share beside their policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg_pool.base import BasePool

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from nanospan.pool.errors import PoolExhausted
    from nanospan.pool.policy import PoolPolicy

__all__ = ["PolicyPool", "pool_arguments"]


class PolicyPool(BasePool):
    """A pool of psycopg_pool that asks a `PoolPolicy` for its decisions.

    Attributes:
        policy: The policy, of this pool alone.
        kind: `async` or `sync`.
    """

    kind: str

    policy: PoolPolicy
    _waiting: deque[Any]

    @property
    def sizes(self) -> tuple[int, int]:
        """`min_size` and `max_size`."""
        return self._min_size, self._max_size

    @property
    def idle_connections(self) -> int:
        """How many connections wait to be leased."""
        return len(self._pool)

    @property
    def waiting_leases(self) -> int:
        """How many leases wait for a connection."""
        return len(self._waiting)

    @property
    def open_connections(self) -> int:
        """How many connections are open: idle and leased."""
        return len(self._pool) + len(self.policy.leases)

    def disown(self) -> None:
        """Lets go of what belongs to the process that this one was forked from."""
        self.policy.disowned = True
        self._closed = True
        self._pool.clear()
        self._waiting.clear()
        self.policy.leases.clear()

    def _check_size(self, min_size: int, max_size: int | None) -> tuple[int, int]:
        """The sizes, unless they make no pool, as psycopg_pool says of integers only."""
        for name, size in (("min_size", min_size), ("max_size", max_size)):
            if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
                raise ValueError(f"{name} must be an integer, not {size!r}")
        return super()._check_size(min_size, max_size)

    def exhausted(self, waited: float | None) -> PoolExhausted:
        """The error of a lease, see `PoolPolicy.exhausted`."""
        return self.policy.exhausted(self.sizes, len(self._waiting), waited)

    def _claim_growth(self) -> int:
        """How many connections to open, so that each waiting lease has one; counts them as open."""
        under_way = self._nconns - self.open_connections
        growth = min(len(self._waiting) - under_way, self._max_size - self._nconns)
        self._nconns += max(growth, 0)
        return growth

    def _claim_missing(self) -> int:
        """How many connections to open, so that there are `min_size`; counts them as open."""
        missing = max(self._min_size - self._nconns, 0)
        self._nconns += missing
        return missing

    def _claim_replacement(self) -> bool:
        """Whether to open a connection in the place of one that was closed."""
        if self._closed:
            return False
        unneeded = self.policy.config.null_pool and not self._waiting
        surplus = self._nconns > self._max_size or unneeded
        self._nconns -= surplus
        return not surplus

    def _claim_retry(self) -> bool:
        """Whether to go on trying to open a connection, as it is needed."""
        needed = self._nconns <= self._min_size or bool(self._waiting)
        self._nconns -= not needed
        return needed


def pool_arguments(policy: PoolPolicy, configure: Callable[[Any], Any]) -> dict[str, Any]:
    """Arguments of psycopg_pool's classes."""
    config = policy.config
    return {
        "conninfo": policy.target.conninfo,
        "kwargs": policy.connect_arguments,
        "configure": configure,
        "open": False,
        "name": policy.target.masked,
        "min_size": 0 if config.null_pool else config.min_size,
        "max_size": config.max_size,
        "timeout": config.timeout,
        "max_waiting": config.max_waiting,
        "max_lifetime": config.recycle,
        "max_idle": config.max_idle,
    }
