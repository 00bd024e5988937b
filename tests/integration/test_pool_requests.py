"""Tests of how pools are requested: settings as mappings or by default, warm-up, own samples."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from omegaconf import OmegaConf
from psycopg.conninfo import conninfo_to_dict

from nanospan import get_performance_monitor
from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    SyncConnectionManager,
    mask_conninfo,
    set_default_config,
    vector_context,
    warmup_global_connection_pools,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTIONS = {"database": {"postgres": {"pool_size": "1", "max_overflow": 2.0, "pool_recycle": -1}}}
EQUAL = ConnectionPoolConfig(min_size=1, max_size=3, recycle=None)
VARIABLES = (
    *("POSTGRES_POOL_SIZE", "POSTGRES_MAX_OVERFLOW", "POSTGRES_POOL_TIMEOUT"),
    *("POSTGRES_CONNECTION_TIMEOUT", "DATABASE_URL", "PGSERVICE", "PGDATABASE"),
    *("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"),
)


@pytest.fixture(autouse=True)
def _no_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    yield
    set_default_config(None)


@pytest.mark.parametrize("kind", [dict, OmegaConf.create], ids=["dict", "DictConfig"])
async def test_mapping(
    manager: GlobalConnectionManager,
    database: str,
    kind: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A pool and a lease take an application's configuration as their settings."""
    config = kind(SECTIONS)
    pool = await manager.get_connection_pool(database, config)
    assert pool.config == EQUAL
    for same in (config, kind(SECTIONS), EQUAL, {}, {"database": "memfuse"}, None):
        async with manager.lease(database, config=same) as connection:
            assert connection.info.status.name == "OK"
        assert await manager.get_connection_pool(database, same) is pool
    (report,) = await manager.warmup_common_pools([database], config)
    assert report.error is None
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    await manager.get_connection_pool(database, {"postgres": {"pool_size": 2}})
    assert "other settings" in caplog.text


async def test_never_recycled(manager: GlobalConnectionManager, database: str) -> None:
    """A connection of a pool without an age limit does not expire."""
    pool = await manager.get_connection_pool(database, EQUAL)
    async with pool.connection() as connection:
        assert not connection.is_expired(1e12)
    assert manager.get_pool_statistics()[mask_conninfo(database)]["recycle"] is None


async def test_wrong_settings(manager: GlobalConnectionManager, database: str) -> None:
    """An invalid setting is an error that names its key, also if the pool is already open."""
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^postgres\.pool_size must be an integer, got 'x'"):
            await manager.get_connection_pool(database, {"postgres": {"pool_size": "x"}})
        with pytest.raises(ValueError, match=r"^postgres\.pool_size must be an integer"):
            await manager.warmup_common_pools([database], {"postgres": {"pool_size": []}})
        await manager.get_connection_pool(database, EQUAL)


async def test_default_settings(
    manager: GlobalConnectionManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without settings, the process's default applies, or else the environment."""
    monkeypatch.setenv("POSTGRES_POOL_SIZE", "2")
    monkeypatch.setenv("POSTGRES_POOL_TIMEOUT", "7.5")
    pool = await manager.get_connection_pool(database)
    assert (pool.min_size, pool.max_size, pool.config.timeout) == (2, 17, 7.5)
    await manager.close_pool(db_url=database)
    set_default_config(SECTIONS)
    async with manager.lease(database):
        (statistics,) = manager.get_pool_statistics().values()
        assert (statistics["min_size"], statistics["max_size"]) == (2, 4)
    await manager.close_all_pools()
    set_default_config(EQUAL)
    assert (await manager.get_connection_pool(database, {})).config == EQUAL
    await manager.close_all_pools()
    set_default_config(None)
    monkeypatch.setenv("POSTGRES_POOL_TIMEOUT", "soon")
    with pytest.raises(ValueError, match=r"^POSTGRES_POOL_TIMEOUT must be a finite number"):
        await manager.get_connection_pool(database)


def test_synchronous_twin(sync_manager: SyncConnectionManager, database: str) -> None:
    """The synchronous manager takes mappings and the process's default, too."""
    set_default_config(SECTIONS)
    pool = sync_manager.get_connection_pool(database)
    assert pool.config == EQUAL
    with sync_manager.lease(database, config=OmegaConf.create(SECTIONS)) as connection:
        assert connection.info.status.name == "OK"
    assert sync_manager.is_pool_healthy(pool, db_url=database)
    (report,) = sync_manager.warmup_common_pools()
    assert (report.error, report.connections) == (None, 1)
    assert vector_context(database, SECTIONS).types.get("vector") is not None
    with pytest.raises(TypeError, match="must be a mapping or ConnectionPoolConfig"):
        sync_manager.lease(database, config=3).__enter__()  # type: ignore[arg-type]
    assert sync_manager.close_pool(db_url=database)


async def test_warm_up_of_nothing(manager: GlobalConnectionManager) -> None:
    """Without URLs, pools or a database in the environment, there is nothing to warm up."""
    assert await manager.warmup_common_pools() == []
    assert await warmup_global_connection_pools(None) == []


@pytest.mark.parametrize("spelling", ["url", "parts", "libpq"])
async def test_warm_up_of_the_default_database(
    manager: GlobalConnectionManager,
    database: str,
    spelling: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without URLs, a warm-up opens the pool of the database that the environment names."""
    parts = conninfo_to_dict(database)
    if spelling == "url":
        monkeypatch.setenv("DATABASE_URL", database)
    elif spelling == "parts":
        monkeypatch.setenv("POSTGRES_DB", str(parts["dbname"]))
        monkeypatch.setenv("POSTGRES_PORT", str(parts["port"]))
        monkeypatch.setenv("POSTGRES_HOST", str(parts["host"]))
        monkeypatch.setenv("POSTGRES_USER", str(parts["user"]))
    else:
        monkeypatch.setenv("PGDATABASE", str(parts["dbname"]))
        for variable, name in (("PGHOST", "host"), ("PGPORT", "port"), ("PGUSER", "user")):
            monkeypatch.setenv(variable, str(parts[name]))
    set_default_config(EQUAL)
    (report,) = await warmup_global_connection_pools()
    assert (report.error, report.connections) == (None, 1)
    pool = await manager.get_connection_pool(database)
    assert len(manager.get_pool_statistics()) == 1
    assert [each.url for each in await manager.warmup_common_pools(None)] == [report.url]
    assert (await manager.get_connection_pool(database)) is pool
    await pool.close()
    monkeypatch.undo()
    assert await manager.warmup_common_pools() == []


async def test_warm_up_of_known_pools(
    manager: GlobalConnectionManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without URLs, a warm-up fills the open pools; a wrong default database is reported."""
    pool = await manager.get_connection_pool(database, EQUAL)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:a@b@localhost/x")
    good, bad = await manager.warmup_common_pools()
    assert (good.error, good.connections) == (None, 1)
    assert pool.idle_connections == 1
    assert bad.error is not None
    assert "a@b" not in repr(bad)


async def test_metadata(manager: GlobalConnectionManager, database: str) -> None:
    """The samples of accesses and look-ups carry the masked URL, in one mapping per pool."""
    monitor = get_performance_monitor()
    monitor.clear_metrics()
    secret = f"{database}?password=marker-secret"
    masked = mask_conninfo(secret)
    for _ in range(3):
        await manager.get_connection_pool(secret, EQUAL)
    async with manager.lease(secret):
        pass
    with pytest.raises(ValueError, match="'\\[' without a '\\]'"):
        await manager.get_connection_pool("postgresql://[")
    access = [sample["metadata"] for sample in monitor.export_metrics()["connection_pool_access"]]
    assert access[:4] == [{"db_url": masked}] * 4
    assert access[4]["db_url"] == "<unreadable connection string>"
    (lookup,) = monitor.export_metrics("pgvector_registration")["pgvector_registration"]
    assert lookup["metadata"] == {"conn_info": masked}
    assert "marker-secret" not in repr(monitor.export_metrics())


def test_metadata_of_synchronous_samples(
    sync_manager: SyncConnectionManager, database: str
) -> None:
    """The synchronous manager's samples carry the same metadata."""
    monitor = get_performance_monitor()
    monitor.clear_metrics()
    sync_manager.get_connection_pool(database, EQUAL)
    with sync_manager.lease(database):
        pass
    access = monitor.export_metrics()["connection_pool_access"]
    assert [sample["metadata"] for sample in access] == [{"db_url": mask_conninfo(database)}] * 2
