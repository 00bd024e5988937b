"""Tests of what callers of MemFuse's pool manager, and tests that patch its pools, rely on."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nanospan.compat.memfuse import global_connection_manager as module
from nanospan.compat.memfuse.global_connection_manager import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    get_global_connection_manager,
    warmup_global_connection_pools,
)

URL = "postgresql://me:secret@localhost:5432/memory"
MASKED = "postgresql://me:***@localhost:5432/memory"
LOGGER = "memfuse_core.services.global_connection_manager"


class FakeConnection:
    def __init__(self) -> None:
        self.queries: list[str] = []
        self.info = SimpleNamespace(dsn="user=me password=secret dbname=memory")

    async def execute(self, query: str) -> None:
        self.queries.append(query)


class FakePool:
    """A pool that needs no server."""

    made: list[FakePool]
    broken = False

    def __init__(self, url: str, **settings: Any) -> None:
        self.made.append(self)
        self.url, self.settings, self.closed = url, settings, False
        self.lent = FakeConnection()

    async def open(self) -> None:
        await asyncio.sleep(0)  # lets concurrent requests arrive before the pool is open
        if self.broken:
            raise OSError("no server")

    async def close(self) -> None:
        self.closed = True

    async def getconn(self) -> FakeConnection:
        return self.lent

    async def putconn(self, connection: FakeConnection) -> None:
        assert connection is self.lent


class Store:
    """An object that uses a pool."""


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[FakePool]:
    """Replace the class of the pools, as tests of MemFuse do; return the pools made since."""
    monkeypatch.setattr(FakePool, "made", [], raising=False)
    monkeypatch.setattr(module, "AsyncConnectionPool", FakePool)
    for name in ("SIZE", "TIMEOUT"):
        monkeypatch.delenv(f"POSTGRES_POOL_{name}", raising=False)
    monkeypatch.delenv("POSTGRES_MAX_OVERFLOW", raising=False)
    return FakePool.made


async def test_replaced_class(manager: GlobalConnectionManager, pools: list[FakePool]) -> None:
    """The class that stands in the module makes the pools, from the settings; one per URL."""
    config = {"database": {"postgres": {"pool_size": 5, "max_overflow": 15, "pool_timeout": 30.0}}}
    found = await asyncio.gather(*(manager.get_connection_pool(URL, config) for _ in range(5)))
    assert len(pools) == 1
    assert all(pool is pools[0] for pool in found)
    assert await manager.get_connection_pool(URL) is pools[0]
    assert pools[0].url == URL
    settings = pools[0].settings
    assert (settings["min_size"], settings["max_size"], settings["timeout"]) == (5, 20, 30.0)
    assert settings["open"] is False
    assert list(manager._pools) == [URL]
    assert manager._pool_configs[URL].max_size == 20
    samples = manager._performance_monitor._metrics["connection_pool_access"]
    assert [sample.metadata for sample in samples] == [{"db_url": MASKED}] * 6


async def test_closed_pool(manager: GlobalConnectionManager, pools: list[FakePool]) -> None:
    """A pool that was closed behind the manager's back is replaced."""
    first = await manager.get_connection_pool(URL)
    first.closed = True
    assert await manager.get_connection_pool(URL) is pools[1]


async def test_references(manager: GlobalConnectionManager, pools: list[FakePool]) -> None:
    """Living users of a pool are counted, and keep it open unless forced."""
    stores = [Store(), Store()]
    for store in stores:
        await manager.get_connection_pool(URL, store_ref=store)
    assert manager._get_active_references(URL) == 2
    assert {reference() for reference in manager._store_references[URL]} == set(stores)
    assert manager.get_pool_statistics()[MASKED]["active_references"] == 2
    assert await manager.close_pool(URL) is False
    del store
    stores.pop()
    gc.collect()
    assert manager._get_active_references(URL) == 1
    assert await manager.close_all_pools() is False
    assert not pools[0].closed
    assert await manager.close_pool(URL, force=True) is True
    assert pools[0].closed
    for view in (manager._pools, manager._pool_configs, manager._store_references):
        assert URL not in view
    assert manager._get_active_references(URL) == 0


async def test_warm_up(manager: GlobalConnectionManager, pools: list[FakePool]) -> None:
    """A warm-up opens every pool and asks it a query; a reset forgets both."""
    assert not manager._warmup_completed
    urls = [URL, f"{URL}_2"]
    await warmup_global_connection_pools(common_db_urls=urls)
    assert get_global_connection_manager() is manager
    assert [pool.lent.queries for pool in pools] == [["SELECT 1"], ["SELECT 1"]]
    assert list(manager._pools) == urls
    assert manager._warmup_completed
    await manager.reset_all_pools()
    assert all(pool.closed for pool in pools)
    assert not manager._warmup_completed
    assert len(manager._pools) == 0


async def test_failed_warm_up(
    manager: GlobalConnectionManager,
    pools: list[FakePool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A warm-up that fails is logged without the password, and ends like any other."""
    monkeypatch.setattr(FakePool, "broken", True)
    await manager.warmup_common_pools([URL])
    assert manager._warmup_completed
    records = [r for r in caplog.records if r.name == LOGGER and r.levelno >= logging.WARNING]
    (warning,) = [r.getMessage() for r in records]
    assert warning == f"GlobalConnectionManager: Pool warmup failed for {MASKED}: no server"


def test_reset_by_none(manager: GlobalConnectionManager) -> None:
    """The class is a singleton until its instance is set to None."""
    assert GlobalConnectionManager() is manager
    assert GlobalConnectionManager.get_instance() is manager
    assert get_global_connection_manager() is manager
    manager._warmup_completed = True
    GlobalConnectionManager._instance = None
    assert GlobalConnectionManager() is not manager
    assert not GlobalConnectionManager()._warmup_completed


def test_masking(manager: GlobalConnectionManager) -> None:
    """A password is hidden; a URL without one stays as it is."""
    assert manager._mask_url(URL) == MASKED
    assert (
        manager._mask_url("postgresql://me@localhost/memory") == "postgresql://me@localhost/memory"
    )


async def test_configure(manager: GlobalConnectionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is registered, but none of them twice."""
    registered: list[FakeConnection] = []

    async def register(connection: FakeConnection) -> None:
        registered.append(connection)

    monkeypatch.setattr(module, "register_vector_async", register)
    connections = [FakeConnection(), FakeConnection()]
    for connection in connections * 2:
        await manager._configure_connection(connection)
    assert registered == connections
    samples = manager._performance_monitor._metrics["pgvector_registration"]
    assert all("secret" not in sample.metadata["conn_info"] for sample in samples)
    assert len(samples) == 2
    assert len(manager._health_check_cache) == 1


async def test_configure_fails(
    manager: GlobalConnectionManager,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A connection that cannot be registered works without vectors; the next try registers it."""

    async def register(connection: FakeConnection) -> None:
        raise ValueError("vector type not found")

    monkeypatch.setattr(module, "register_vector_async", register)
    connection = FakeConnection()
    await manager._configure_connection(connection)
    (warning,) = [r.getMessage() for r in caplog.records if r.name == LOGGER]
    assert "Failed to register pgvector" in warning
    assert "secret" not in warning
    assert connection not in manager._configured


@pytest.mark.parametrize("name", ["memfuse_core", "src.memfuse_core"])
async def test_application_config(
    manager: GlobalConnectionManager,
    pools: list[FakePool],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Without settings, those of the running MemFuse apply; its database is warmed up."""
    config = {
        "database": {
            "postgres": {"host": "db", "user": "me", "database": "memory", "pool_size": 3},
        }
    }
    application = ModuleType(f"{name}.utils.config")
    application.config_manager = SimpleNamespace(get_config=lambda: config)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, application.__name__, application)
    await manager.warmup_common_pools()
    assert pools[0].url == "host=db port=5432 dbname=memory user=me"
    assert pools[0].settings["min_size"] == 3
    await manager.get_connection_pool(URL, ConnectionPoolConfig(min_size=2))
    assert pools[1].settings["min_size"] == 2


async def test_closing_is_logged(
    manager: GlobalConnectionManager, pools: list[FakePool], caplog: pytest.LogCaptureFixture
) -> None:
    """Closing pools, and leaving one open, is logged as before."""
    store = Store()
    with caplog.at_level(logging.INFO, LOGGER):
        await manager.get_connection_pool(URL, store_ref=store)
        await manager.close_pool(URL)
        await manager.close_pool(URL, force=True)
        await manager.close_all_pools()
    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert lines == [
        f"GlobalConnectionManager: Not closing pool for {MASKED} - 1 active references",
        f"GlobalConnectionManager: Closing pool for {MASKED}",
        "GlobalConnectionManager: Closing all connection pools...",
        "GlobalConnectionManager: All connection pools closed",
    ]
