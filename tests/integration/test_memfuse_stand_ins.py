"""Tests of the stand-ins for MemFuse's modules with pools of a real server."""

from __future__ import annotations

import logging
import sys
import time
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import psycopg
import pytest

import nanospan
from nanospan import pool
from nanospan.compat.memfuse import global_connection_manager as module
from nanospan.compat.memfuse.global_connection_manager import (
    AsyncConnectionPool,
    GlobalConnectionManager,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER = "memfuse_core.services.global_connection_manager"
SIZES = {"postgres": {"pool_size": 1, "max_overflow": 1}}


class Store:
    """An object that uses a pool."""


@pytest.fixture
def old(
    manager: pool.GlobalConnectionManager, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GlobalConnectionManager]:
    """Yield a new instance of the stand-in's manager, which logs where pytest sees it."""
    monkeypatch.setattr(module, "logger", logging.getLogger(LOGGER))  # may be loguru's
    GlobalConnectionManager._instance = None
    yield GlobalConnectionManager()
    GlobalConnectionManager._instance = None
    nanospan.get_performance_monitor().__class__ = nanospan.PerformanceMonitor


async def test_shared_pool(
    old: GlobalConnectionManager,
    manager: pool.GlobalConnectionManager,
    database: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both managers share one pool, whose settings and users the private names show."""
    store = Store()
    other_spelling = database.replace("postgresql://", "postgres://")
    with caplog.at_level(logging.INFO, LOGGER):
        found = await old.get_connection_pool(database, SIZES, store)
        assert await old.get_connection_pool(other_spelling) is found
    assert await manager.get_connection_pool(database) is found
    assert isinstance(found, AsyncConnectionPool)
    assert dict(old._pools) == dict(old._warm_pools) == {database: found}
    assert (old._pool_configs[database].min_size, old._pool_configs[database].max_size) == (1, 2)
    assert [reference() for reference in old._store_references[database]] == [store]
    assert old._get_active_references(database) == 1
    assert [s["active_references"] for s in old.get_pool_statistics().values()] == [1]
    masked = pool.mask_conninfo(database)
    assert [record.getMessage() for record in caplog.records if record.name == LOGGER] == [
        f"GlobalConnectionManager: Creating new pool for {masked}",
        "GlobalConnectionManager: Pool opened successfully (min=1, max=2)",
    ]
    async with old.lease(database) as connection:
        cursor = await connection.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)
    assert await old.close_pool(database) is False
    assert await old.close_pool(database, force=True) is True
    assert found.closed
    assert len(old._pools) == 0


async def test_views_are_read_only(old: GlobalConnectionManager, database: str) -> None:
    """A change to a view fails rather than having no effect, and no view shows a password."""
    await old.get_connection_pool(database, SIZES)
    with pytest.raises(AttributeError):
        old._pools.clear()  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        del old._pools[database]  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        old._pools = {}  # type: ignore[misc]
    assert repr(old._pools) == "<PoolView of 1 pools>"
    assert "nonsense://" not in old._pools


async def test_health_cache(old: GlobalConnectionManager, database: str) -> None:
    """The cache says when a pool was checked; what is removed from it is checked again."""
    before = time.time()
    found = await old.get_connection_pool(database, SIZES)
    cache = old._health_check_cache
    assert list(cache) == [database]
    assert before - 1 < cache[database] < time.time() + 1
    for forget in (cache.clear, lambda: cache.__setitem__(database, 0.0)):
        forget()
        assert database not in cache
        assert dict(old._warm_pools) == {}
        assert await old.is_pool_healthy(found, database)
        assert database in cache
    cache["another key"] = 5.0
    assert dict(cache).keys() == {database, "another key"}
    del cache["another key"]
    assert "another key" not in cache


async def test_configure_connection(old: GlobalConnectionManager, database: str) -> None:
    """A connection of the caller's own gets pgvector's types; one of a pool's has them."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await old._configure_connection(connection)
        cursor = await connection.execute("SELECT '[1,2]'::vector")
        own = (await cursor.fetchone() or ["nothing"])[0]
    found = await old.get_connection_pool(database, SIZES)
    async with found.connection() as connection:
        await old._configure_connection(connection)
        cursor = await connection.execute("SELECT '[1,2]'::vector")
        shared = (await cursor.fetchone() or ["nothing"])[0]
    assert type(own) is type(shared)
    assert not isinstance(own, str)
    assert connection not in old._configured


async def test_foreign_pool(old: GlobalConnectionManager, database: str) -> None:
    """A pool that the caller made is asked a query, once in a while."""
    async with AsyncConnectionPool(database, min_size=1, open=False) as own:
        assert await old.is_pool_healthy(own, "own")
        assert own.get_stats()["requests_num"] == 1
        assert await old.is_pool_healthy(own, "own")
        assert own.get_stats()["requests_num"] == 1
    del old._health_check_cache["own"]
    assert not await old.is_pool_healthy(own, "own")


async def test_application_config(
    old: GlobalConnectionManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database that the running MemFuse's configuration names is warmed up as it says."""
    config = {"database": {"url": database, **SIZES}}
    application = ModuleType("memfuse_core.utils.config")
    application.config_manager = SimpleNamespace(get_config=lambda: config)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, application.__name__, application)
    await old.warmup_common_pools()
    assert old._warmup_completed
    assert list(old._pools) == [database]
    assert old._pool_configs[database].max_size == 2
    await old._pools[database].close()
    opened = await old.get_connection_pool(database, {"store": "pgai"})
    assert (opened.min_size, opened.max_size) == (1, 2)
    await old.warmup_common_pools()
    assert list(old._pools) == [database]
    await old.reset_all_pools()
    assert not old._warmup_completed
    assert dict(old._pools) == {}
