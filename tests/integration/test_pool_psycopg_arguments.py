"""Tests that the pools take what psycopg_pool's users give them, beside what the pools do."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pgvector import Vector
from pool_checks import LIMIT, backend, kill_backends, run, settles, settles_here
from psycopg.rows import DictRow, Row, dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from nanospan.pool import (
    ConnectionPoolConfig,
    ConninfoError,
    GlobalConnectionManager,
    PoolExhausted,
    PoolOpenError,
    SyncConnectionManager,
    SyncVectorPool,
    VectorNullPool,
    VectorPool,
)
from nanospan.pool.config import SharedPoolSettings

if TYPE_CHECKING:
    from collections.abc import Callable

DOWN = "postgresql://app:S3cr3t@127.0.0.1:1/shop"
VECTOR = "SELECT '[1,2]'::vector"


class OwnConnection(psycopg.AsyncConnection[Row]):
    """A user's class of connections."""


async def first_row(connection: Any, query: str) -> Any:
    return await (await connection.execute(query)).fetchone()


async def test_own_connection_class(manager: GlobalConnectionManager, database: str) -> None:
    """A user's class and arguments give connections that know vectors, in each kind of pool."""
    calls = []

    async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        calls.append(type(connection).__name__)
        await connection.set_autocommit(True)

    for kind in (VectorPool, VectorNullPool):
        pool: Any = kind[OwnConnection[DictRow]](
            database,
            max_size=4,
            connection_class=OwnConnection[DictRow],
            kwargs={"row_factory": dict_row, "application_name": "ours"},
            configure=configure,
        )
        async with pool, pool.connection() as connection:
            assert isinstance(connection, OwnConnection)
            assert connection.autocommit
            assert await first_row(connection, VECTOR) == {"vector": Vector([1, 2])}
            assert connection.info.parameter_status("application_name") == "ours"
    shared = await manager.get_connection_pool(
        database, connection_class=OwnConnection, kwargs={"autocommit": True}, min_size=1
    )
    async with shared.connection() as connection:
        assert isinstance(connection, OwnConnection)
        assert connection.autocommit
        assert await first_row(connection, VECTOR) == (Vector([1, 2]),)
    assert set(calls) == {"PooledOwnConnection"}


def test_a_class_of_the_other_kind(database: str) -> None:
    """A class of asynchronous connections in a synchronous pool is a TypeError."""
    with pytest.raises(TypeError, match=r"subclass of psycopg\.Connection, got .*OwnConnection"):
        SyncVectorPool(database, connection_class=OwnConnection, open=False)  # type: ignore[type-var]


async def test_own_adapters(database: str) -> None:
    """The adapters of a `context` in `kwargs` are used together with pgvector's."""
    context = psycopg.adapt.AdaptersMap(psycopg.adapters)
    set_json_loads(lambda _: "loaded", _Adapting(context))
    async with VectorPool(database, min_size=1, kwargs={"context": _Adapting(context)}) as pool:
        async with pool.connection() as connection:
            row = await first_row(connection, "SELECT '[1,2]'::vector, '{}'::json")
            assert row == (Vector([1, 2]), "loaded")
        kill_backends(database)
        async with pool.connection() as connection:
            row = await first_row(connection, "SELECT '[1,2]'::vector, '{}'::json")
            assert row == (Vector([1, 2]), "loaded")


class _Adapting:
    connection = None

    def __init__(self, adapters: Any) -> None:
        self.adapters = adapters


async def test_check(database: str) -> None:
    """A connection that fails the user's check is replaced before the lease gets one."""
    refused: list[int] = []

    async def check(connection: psycopg.AsyncConnection[Any]) -> None:
        pid = connection.info.backend_pid
        if pid in refused:
            raise LookupError(pid)

    async with VectorPool(database, min_size=2, check=check) as pool:
        await pool.wait(LIMIT)
        refused += [await backend(pool), await backend(pool)]
        assert await backend(pool) not in refused
        assert pool.get_stats()["connections_lost"] == 2
        await pool.wait(LIMIT)
        assert pool.get_stats()["pool_size"] == 2


async def test_a_check_that_always_fails(database: str) -> None:
    """The error of a lease says what the check raised."""

    def check(_: object) -> None:
        raise LookupError("no such tenant")

    async with VectorPool(database, min_size=1, check=check, timeout=0.2) as pool:
        await pool.wait(LIMIT)
        with pytest.raises(PoolExhausted, match=r"check of a connection failed .*no such tenant"):
            await pool.getconn()
    with SyncVectorPool(database, min_size=1, check=check, timeout=0.2, open=True) as synchronous:
        synchronous.wait(LIMIT)
        with pytest.raises(PoolTimeout, match="no such tenant"):
            synchronous.getconn()


async def test_a_check_without_end(database: str) -> None:
    """A check that waits for something else than the server does not outlast the lease's time."""

    async def check(_: object) -> None:
        await asyncio.sleep(2 * LIMIT)

    async with VectorPool(database, min_size=1, check=check, timeout=0.2) as pool:
        await pool.wait(LIMIT)
        with pytest.raises(PoolExhausted, match=r"check of a connection failed .*TimeoutError"):
            await asyncio.wait_for(pool.getconn(), LIMIT)


async def test_blocks_in_functions(database: str) -> None:
    """A block of the connection in `configure`, `check` and `reset` does not close it."""

    async def block(connection: psycopg.AsyncConnection[Any]) -> None:
        async with connection:
            await connection.execute("SELECT 1")

    def block_here(connection: psycopg.Connection[Any]) -> None:
        with connection:
            connection.execute("SELECT 1")

    async with VectorPool(
        database, min_size=1, max_size=1, configure=block, check=block, reset=block
    ) as pool:
        assert await backend(pool) == await backend(pool)
    with SyncVectorPool(
        database, min_size=1, configure=block_here, check=block_here, reset=block_here, open=True
    ) as synchronous:
        pids = []
        for _ in range(2):
            with synchronous.connection() as connection:
                pids.append(connection.info.backend_pid)
        assert pids[0] == pids[1]


async def test_closing_in_functions(database: str) -> None:
    """A connection that a function of the pool closes is not returned by that, but replaced."""

    async def close(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.close()

    async with VectorPool(database, min_size=1, reset=close, close_returns=True) as pool:
        for _ in range(3):
            assert await backend(pool)
            await pool.wait(LIMIT)
            assert pool.get_stats()["pool_size"] == 1


async def test_arguments_that_libpq_does_not_know(database: str) -> None:
    """A misspelled argument is a fault of the program, which leases raise at once."""
    kwargs = {"aplication_name": "ours"}
    async with VectorPool(database, min_size=1, kwargs=kwargs, timeout=LIMIT) as pool:
        with pytest.raises(TypeError, match=r'kwargs .* "aplication_name"'):
            await pool.getconn()
    with (
        SyncVectorPool(database, min_size=1, kwargs=kwargs, timeout=LIMIT, open=True) as twin,
        pytest.raises(TypeError, match=r'kwargs .* "aplication_name"'),
    ):
        twin.getconn()


def test_times_without_end(database: str) -> None:
    """Times may be infinite, as psycopg_pool takes them."""
    forever = math.inf
    with SyncVectorPool(
        database,
        min_size=1,
        timeout=forever,
        max_idle=forever,
        max_lifetime=forever,
        reconnect_timeout=forever,
        open=True,
    ) as pool:
        assert pool.getconn() is not None
    with pytest.raises(ValueError, match="max_lifetime must be more than 0"):
        SyncVectorPool(database, max_lifetime=0.0)


def test_reporting_each_failure() -> None:
    """With `reconnect_timeout=0`, each failed attempt is reported, with pauses in between."""
    calls: list[Any] = []
    with SyncVectorPool(
        DOWN, min_size=1, reconnect_failed=calls.append, reconnect_timeout=0.0, open=True
    ) as pool:
        began = time.monotonic()
        assert settles_here(lambda: len(calls) >= 4)
        assert time.monotonic() - began > 0.3  # pauses of at least 0.05, 0.1 and 0.2 s
        assert pool.get_stats()["connections_errors"] >= 4


async def test_reconnect_failed(caplog: pytest.LogCaptureFixture) -> None:
    """The function is called again and again while the server is away, and its errors logged."""
    calls: list[str] = []

    async def failed(pool: AsyncConnectionPool[Any]) -> None:
        calls.append(pool.name)
        raise LookupError("no pager to call")

    async with VectorPool(
        DOWN, min_size=1, name="shop", reconnect_failed=failed, reconnect_timeout=0.1
    ):
        assert await settles(lambda: len(calls) >= 2)
    assert set(calls) == {"shop"}
    assert "no pager to call" in caplog.text
    told: list[Any] = []
    with SyncVectorPool(
        DOWN, min_size=1, reconnect_failed=told.append, reconnect_timeout=0.1, open=True
    ) as pool:
        assert settles_here(lambda: told)
    assert told[0] is pool


async def test_close_returns(manager: GlobalConnectionManager, database: str) -> None:
    """With `close_returns`, closing a leased connection returns it."""
    pool = await manager.get_connection_pool(database, close_returns=True, min_size=1, max_size=1)
    connection = await pool.getconn()
    await connection.close()
    assert not connection.closed
    assert pool.idle_connections == 1
    with SyncVectorPool(database, min_size=1, close_returns=True, open=True) as synchronous:
        leased = synchronous.getconn()
        leased.close()
        assert not leased.closed
        assert synchronous.idle_connections == 1


async def test_changing_passwords_share_a_pool(
    manager: GlobalConnectionManager, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Functions that return strings with different secrets share a pool, which shows neither."""
    caplog.set_level(logging.DEBUG)
    numbers = iter(range(100))

    async def conninfo() -> str:
        return database.replace("postgres@", f"postgres:S3cr3t{next(numbers)}@")

    pool = await manager.get_connection_pool(conninfo, min_size=2, max_size=4)
    await pool.wait(LIMIT)
    assert await manager.get_connection_pool(conninfo) is pool
    assert await manager.get_connection_pool(partial(conninfo)) is pool
    assert await manager.get_connection_pool(database, min_size=1, max_size=4) is not pool
    async with manager.lease(conninfo) as connection:
        assert await first_row(connection, VECTOR) == (Vector([1, 2]),)
    (report,) = await manager.warmup_common_pools([conninfo])
    assert report.connections >= 2
    assert next(numbers) >= 3  # a string for each connection
    statistics = manager.get_pool_statistics()
    shown = f"{statistics} {pool!r} {pool.endpoint!r} {pool.config!r} {report} {caplog.text}"
    assert "S3cr3t" not in shown
    assert database.replace("postgres@", "postgres:***@") in statistics
    assert await manager.is_pool_healthy(pool, conninfo)
    assert await manager.resize_pool(conninfo, 1, 3)
    assert await manager.close_pool(conninfo)
    assert pool.closed


def test_changing_passwords_without_a_loop(
    sync_manager: SyncConnectionManager, database: str
) -> None:
    """The same holds for the synchronous manager, where the function must be a plain one."""
    pool = sync_manager.get_connection_pool(lambda: database, min_size=1, max_size=2)
    assert sync_manager.get_connection_pool(lambda: database) is pool
    with sync_manager.lease(lambda: database) as connection:
        assert connection.execute(VECTOR).fetchone() == (Vector([1, 2]),)

    async def conninfo() -> str:
        return database

    with pytest.raises(TypeError, match="conninfo must be a plain function"):
        sync_manager.get_connection_pool(conninfo)
    with pytest.raises(ConninfoError):
        sync_manager.get_connection_pool(lambda: "postgresql+asyncpg://h/d")


async def test_a_function_that_fails(manager: GlobalConnectionManager, database: str) -> None:
    """If a function cannot return a string now, leases wait; an error of the program is raised."""
    failures: list[Exception] = [ValueError("no token: S3cr3t"), ValueError("no token")]

    def conninfo() -> str:
        if failures:
            raise failures.pop()
        return database

    async with VectorPool(conninfo, min_size=1) as pool:
        assert await backend(pool)
    failures.append(ValueError("no token"))
    with pytest.raises(ValueError, match="no token"):
        await manager.get_connection_pool(conninfo)
    failures += [AttributeError("fault")] * 9
    async with VectorPool(conninfo, min_size=0, max_size=1, timeout=LIMIT) as pool:
        with pytest.raises(AttributeError, match="fault"):
            await pool.getconn()


async def test_opening_lazily(manager: GlobalConnectionManager) -> None:
    """A pool that is opened lazily is there before its server is, and says why leases fail."""
    with pytest.raises(PoolOpenError):
        await manager.get_connection_pool(DOWN)
    pool = await manager.get_connection_pool(DOWN, open="lazily", timeout=0.2)
    assert await manager.get_connection_pool(DOWN) is pool
    assert await settles(lambda: pool.get_stats().get("connections_errors"))
    with pytest.raises(PoolExhausted, match="refused"):
        async with manager.lease(DOWN):
            pass
    assert await manager.get_connection_pool(DOWN) is pool


def test_opening_lazily_without_a_loop(sync_manager: SyncConnectionManager) -> None:
    """The same holds for the synchronous manager, with the setting in a mapping."""
    pool = sync_manager.get_connection_pool(DOWN, {"postgres": {"open": "lazily"}})
    assert settles_here(lambda: pool.get_stats().get("connections_errors"))
    with pytest.raises(PoolExhausted, match="refused"), pool.connection(timeout=0.2):
        pass
    assert sync_manager.get_connection_pool(DOWN) is pool


async def test_a_lazy_pool_heals(manager: GlobalConnectionManager, bare_database: str) -> None:
    """A lazily opened pool connects once its database is there."""
    late = f"{bare_database}_late"
    pool = await manager.get_connection_pool(late, open="lazily", min_size=1)
    waiting = asyncio.create_task(backend(pool))
    assert await settles(lambda: pool.get_stats().get("connections_errors", 0))
    name = late.rpartition("/")[2]
    run(bare_database, f"CREATE DATABASE {name}")
    try:
        assert await waiting
        await manager.close_pool(late)
    finally:
        run(bare_database, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("name", ["user", "password", "dbname", "host", "port"])
async def test_a_shared_pool_is_one_of_its_url(manager: GlobalConnectionManager, name: str) -> None:
    """A shared pool refuses to connect elsewhere, or as another role, than its URL says."""
    with pytest.raises(ValueError, match=f"must not contain {name}; write it into the connection"):
        await manager.get_connection_pool(DOWN, kwargs={name: "5"})


async def test_unknown_settings(manager: GlobalConnectionManager) -> None:
    """A setting that does not exist is a TypeError that names it, wherever it is given."""
    with pytest.raises(TypeError, match="unknown setting 'max_lifetime'"):
        await manager.get_connection_pool(DOWN, max_lifetime=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="pool_size"):
        VectorPool(DOWN, pool_size=3)  # type: ignore[call-arg]


def test_settings_as_keywords() -> None:
    """Every setting can be given as a keyword."""
    names = {field.name for field in fields(ConnectionPoolConfig)}
    assert SharedPoolSettings.__annotations__.keys() == names


def in_child(work: Callable[[], object]) -> int:
    """Return the exit status of a forked child that does ``work``: 0 if it returns something."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_fork(database: str) -> None:
    """A forked child does not touch its parent's pool, and can open one that was not open."""
    unopened = SyncVectorPool(database, min_size=1, open=False)

    def child() -> bool:
        with unopened, unopened.connection() as connection:
            connection.execute("SELECT 1")
        return pool.closed

    with SyncVectorPool(database, min_size=1, open=True) as pool:
        with pool.connection() as connection:
            pid = connection.info.backend_pid
        assert in_child(child) == 0
        with pool.connection() as connection:
            assert connection.execute("SELECT pg_backend_pid()").fetchone() == (pid,)
