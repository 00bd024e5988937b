"""Tests for the registry of pools."""

import asyncio
import contextlib
from types import SimpleNamespace

from nanospan.pool.config import ConnectionPoolConfig
from nanospan.pool.conninfo import Target
from nanospan.pool.registry import PoolRegistry

URL = "postgresql://app:secret@db.example/shop"


def test_a_pool_keeps_its_name_when_another_of_the_same_database_closes() -> None:
    """The pools of one database have different names, which do not change while they are open."""
    registry = PoolRegistry()
    target = Target.parse(URL)
    with contextlib.ExitStack() as loops:
        keys = [(target.key, None)]
        keys += [
            (target.key, loops.enter_context(contextlib.closing(asyncio.new_event_loop())))
            for _ in range(2)
        ]
        pools = [registry.prepare(key, target, ConnectionPoolConfig(), URL) for key in keys]
        for key, pool in zip(keys, pools, strict=True):
            pool.pool = SimpleNamespace(closed=False)
            assert registry.publish(key, pool) is pool
        masked = "postgresql://app:***@db.example/shop"
        first, second, third = masked, f"{masked} (2)", f"{masked} (3)"
        assert registry.named() == dict(zip((first, second, third), pools, strict=True))
        registry.forget(keys[0])
        assert registry.named() == {second: pools[1], third: pools[2]}
        registry.publish(keys[0], pools[0])
        assert registry.named() == dict(
            zip((second, third, first), pools[1:] + pools[:1], strict=True)
        )
        registry.clear()


def test_of_two_pools_opened_at_once_one_is_used() -> None:
    """A pool takes the place of a closed one of the same database, but not of an open one."""
    registry, target = PoolRegistry(), Target.parse(URL)
    key = (target.key, None)
    first, second = (registry.prepare(key, target, ConnectionPoolConfig(), URL) for _ in range(2))
    first.pool, second.pool = SimpleNamespace(closed=False), SimpleNamespace(closed=False)
    assert registry.publish(key, first) is first
    assert registry.publish(key, second) is first
    first.pool.closed = True
    assert registry.publish(key, second) is second
    registry.clear()
