"""Tests for the state that both kinds of pool share, on an unopened pool without a server."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from psycopg_pool import PoolTimeout, TooManyRequests

from nanospan.pool import ConnectionPoolConfig, PoolExhausted, PoolOverloaded
from nanospan.pool.conninfo import Target
from nanospan.pool.endpoint import Endpoint
from nanospan.pool.lease_table import Holder
from nanospan.pool.sync_vector_pool import SyncVectorPool
from nanospan.pool.vector_types import DatabaseTypes

if TYPE_CHECKING:
    from psycopg import Connection

CONFIG = ConnectionPoolConfig(min_size=2, max_size=5)


def unopened_pool(distrusted: list[str] | None = None) -> SyncVectorPool[Connection[Any]]:
    """Return a pool that appends to ``distrusted`` each time the pool becomes distrusted."""
    found = [] if distrusted is None else distrusted
    target = Target.parse("postgresql://u:S3cr3t@h/d")
    endpoint = Endpoint(target, CONFIG, DatabaseTypes("d"))
    return SyncVectorPool.shared(endpoint, lambda: found.append("distrusted"))


@pytest.mark.parametrize(
    ("error", "kind", "expected"),
    [
        (PoolTimeout(), PoolExhausted, ["distrusted"]),
        (TooManyRequests(), PoolOverloaded, []),
    ],
)
def test_failed_leases(error: Any, kind: type, expected: list[str]) -> None:
    """A pool becomes distrusted if a lease times out, but not if `max_waiting` rejects a lease."""
    distrusted: list[str] = []
    pool = unopened_pool(distrusted)
    assert type(pool._lease_error(error, monotonic())) is kind
    assert distrusted == expected
    assert pool.statistics.timeouts == 1


def test_only_a_recent_failure_to_connect_is_reported() -> None:
    """Until a connection attempt succeeds, errors give the last failure without the password."""
    pool = unopened_pool()
    with pytest.raises(OSError, match="refused"), pool._watch_connect():
        raise OSError("refused for\nS3cr3t")
    assert "0.0 s ago: refused for ***" in str(pool.exhausted(1.0))
    with pool._watch_connect():
        pass
    assert "refused" not in str(pool.exhausted(1.0))
    assert pool.statistics.connect.snapshot().count == 1


def test_a_forked_child_forgets_the_leases() -> None:
    """A pool that a forked child has disowned is closed and ignores returned connections."""
    pool = unopened_pool()
    pool.leases.begin("connection", Holder("mine"), 1.0)
    pool.disown()
    assert pool.closed
    assert pool.open_connections == 0
    pool.putconn("connection")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [2.5, "2", True])
def test_sizes_must_be_integers(size: Any) -> None:
    """A size that is not an integer raises a ValueError that names the parameter."""
    with pytest.raises(ValueError, match=f"max_size must be an integer, got {size!r}"):
        unopened_pool()._check_size(1, size)
