"""Tests for changing the sizes of an open pool."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pool_checks import LIMIT, assert_sound, backend, backends, settles

from nanospan.pool import ConnectionPoolConfig, GlobalConnectionManager


async def test_growing(manager: GlobalConnectionManager, database: str) -> None:
    """Growing a pool opens connections only up to the new `min_size`."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 2))
    async with pool.connection(), pool.connection():
        assert await manager.resize_pool(database, 2, 4)
        assert pool.get_stats()["pool_size"] == 2
        assert await manager.resize_pool(database, 3, 4)
        await pool.fill(LIMIT)
        assert pool.open_connections == 3
    assert pool.sizes == (3, 4)
    await assert_sound(manager, pool, database)


async def test_growing_serves_who_waits(manager: GlobalConnectionManager, database: str) -> None:
    """After a pool grows, waiting leases get new connections."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 1))
    async with pool.connection():
        waiting = [asyncio.create_task(backend(pool)) for _ in range(3)]
        assert await settles(lambda: pool.waiting_leases == 3)
        await pool.resize(1, 3)
        assert all(await asyncio.gather(*waiting))
    await assert_sound(manager, pool, database)


async def test_shrinking(manager: GlobalConnectionManager, database: str) -> None:
    """Shrinking closes surplus idle connections at once, and leased connections on return."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(6, 6))
    await pool.fill(LIMIT)
    async with AsyncExitStack() as leases:
        for _ in range(4):
            await leases.enter_async_context(pool.connection())
        await pool.resize(1, 2)
        assert pool.idle_connections == 0
        assert await settles(lambda: backends(database) == 4)
    assert pool.idle_connections == pool.get_stats()["pool_size"] == 2
    assert await settles(lambda: backends(database) == 2)
    await assert_sound(manager, pool, database)


async def test_impossible_sizes(manager: GlobalConnectionManager, database: str) -> None:
    """Resizing to impossible sizes raises a ValueError; resizing an unknown pool returns False."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 2))
    for sizes in ((-1, 2), (3, 2), (0, 0)):
        with pytest.raises(ValueError):
            await manager.resize_pool(database, *sizes)
    assert pool.sizes == (1, 2)
    assert not await manager.resize_pool(f"{database}?application_name=none", 1, 2)


@pytest.mark.parametrize(
    "sizes", [(2.5, 5), ("2", 3), (True, 2), (1, float("nan")), (3, 2), (-1, 2)]
)
async def test_invalid_sizes(
    manager: GlobalConnectionManager, database: str, sizes: tuple[Any, Any]
) -> None:
    """If new sizes are invalid, resizing raises a ValueError and keeps the old sizes."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 4))
    with pytest.raises(ValueError, match=r"m(in|ax)_size"):
        await manager.resize_pool(database, *sizes)
    assert pool.sizes == (1, 4)
    await assert_sound(manager, pool, database)
