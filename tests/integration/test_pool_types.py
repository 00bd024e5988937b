"""Tests that every connection knows pgvector's types, and that changed types are noticed."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pgvector import Bit, HalfVector, SparseVector, Vector
from pool_checks import LIMIT, backend, backends, run, settles
from psycopg_pool import AsyncConnectionPool
from slow_proxy import SlowProxy

from nanospan import get_performance_monitor
from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    PoolExhausted,
    PoolOpenError,
    SyncConnectionManager,
    get_global_connection_manager,
    lookup,
    vector_context,
    vector_context_async,
)
from nanospan.pool.lookup import look_up_async
from nanospan.pool.vector_types import DatabaseTypes

if TYPE_CHECKING:
    from nanospan.demo.database import EmbeddedServer

READ = "SELECT '[1,2]'::vector, '[1]'::halfvec, '{1:2}/3'::sparsevec, ARRAY['[3]'::vector]"
EAGER = ConnectionPoolConfig(min_size=3, max_size=3, health_check_interval=0.0)


async def read_on_all(pool: Any, count: int, query: str = READ) -> list[tuple[Any, ...]]:
    """Lease `count` connections at the same time; return the row that each connection reads."""
    everyone = asyncio.Barrier(count) if hasattr(asyncio, "Barrier") else None

    async def read() -> tuple[Any, ...]:
        async with pool.connection() as connection:
            row: tuple[Any, ...] = await (await connection.execute(query)).fetchone()
            await (everyone.wait() if everyone else asyncio.sleep(0.3))
            return row

    return await asyncio.gather(*(read() for _ in range(count)))


def statements(server: EmbeddedServer, after: int) -> list[str]:
    """Return the type look-ups that the server logged after byte `after` of its log."""
    with server.log_path.open(errors="replace") as log:
        log.seek(after)
        entries = log.read().split("LOG:  ")
    return [entry for entry in entries if "pg_type" in entry or "regtype" in entry]


async def test_first_connections_decode(manager: GlobalConnectionManager, database: str) -> None:
    """The first 20 connections of a pool can all read and write pgvector's types."""
    config = ConnectionPoolConfig(min_size=5, max_size=20)
    pool = await manager.get_connection_pool(database, config)
    rows = await read_on_all(pool, 20)
    assert len(rows) == 20
    assert set(map(repr, rows)) == {
        repr((Vector([1, 2]), HalfVector([1]), SparseVector({0: 2}, 3), [Vector([3])]))
    }
    async with pool.connection() as connection:
        values = (Vector([1, 2]), HalfVector([1]), SparseVector({0: 2}, 3), Bit("101"))
        cursor = await connection.execute(
            "SELECT pg_typeof(%s)::text, pg_typeof(%s)::text, pg_typeof(%s)::text,"
            " pg_typeof(%s)::text",
            values,
        )
        assert await cursor.fetchone() == ("vector", "halfvec", "sparsevec", "bit")
        cursor = connection.cursor(binary=True)
        await cursor.execute("SELECT %s::vector", (Vector([1, 2]),))
        assert await cursor.fetchone() == (Vector([1, 2]),)


async def test_no_lookup_when_warm(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """Once a process knows a database's types, 20 new connections cause no look-up."""
    cold = server.log_path.stat().st_size
    await manager.get_connection_pool(database, ConnectionPoolConfig(min_size=1, max_size=1))
    await manager.close_all_pools()
    warm = server.log_path.stat().st_size
    assert len(statements(server, cold)) == 1
    pool = await manager.get_connection_pool(
        database, ConnectionPoolConfig(min_size=20, max_size=20)
    )
    rows = await read_on_all(pool, 20, "SELECT '[1]'::vector, pg_backend_pid()")
    assert all(isinstance(row[0], Vector) for row in rows)
    assert len({row[1] for row in rows}) == 20
    assert statements(server, warm) == []


async def test_concurrent_first_callers_look_up_once(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """Callers that open a pool concurrently cause only one type look-up."""
    cold = server.log_path.stat().st_size
    await asyncio.gather(*(manager.get_connection_pool(database) for _ in range(5)))
    await manager.close_all_pools()
    assert len(statements(server, cold)) == 1


async def test_schema_off_the_search_path(
    manager: GlobalConnectionManager, bare_database: str
) -> None:
    """The look-up finds pgvector's types in any schema, and ignores unrelated types named alike."""
    run(
        bare_database,
        "CREATE SCHEMA hidden",
        "CREATE EXTENSION vector SCHEMA hidden",
        "CREATE DOMAIN public.vector AS text",
    )
    pool = await manager.get_connection_pool(bare_database, EAGER)
    query = "SELECT '[1]'::hidden.vector, 'text'::public.vector"
    assert await read_on_all(pool, 3, query) == [(Vector([1]), "text")] * 3


async def test_recreated_extension(
    manager: GlobalConnectionManager, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The health check detects a recreated extension, and later leases know the new types."""
    pool = await manager.get_connection_pool(database, EAGER)
    assert all(isinstance(row[0], Vector) for row in await read_on_all(pool, 3))
    async with pool.connection() as leased:
        run(database, "DROP EXTENSION vector", "CREATE EXTENSION vector")
        assert await manager.get_connection_pool(database) is pool
        cursor = await leased.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)
    rows = await read_on_all(pool, 3)
    assert all(isinstance(row[0], Vector) for row in rows)
    assert [row[3] for row in rows] == [[Vector([3])]] * 3
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT %s", (Vector([1]),))
        assert await cursor.fetchone() == (Vector([1]),)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_recreated_extension_within_ttl(
    manager: GlobalConnectionManager, database: str
) -> None:
    """Leases detect a recreated extension once `type_cache_ttl` has passed."""
    config = ConnectionPoolConfig(min_size=2, max_size=2, type_cache_ttl=0.05)
    pool = await manager.get_connection_pool(database, config)
    assert all(isinstance(row[0], Vector) for row in await read_on_all(pool, 2))
    run(database, "DROP EXTENSION vector", "CREATE EXTENSION vector")
    await asyncio.sleep(0.1)
    assert all(isinstance(row[0], Vector) for row in await read_on_all(pool, 2))


async def test_extension_appears(
    manager: GlobalConnectionManager, bare_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without pgvector, a pool warns once and works; it finds the types once they are created."""
    pool = await manager.get_connection_pool(bare_database, EAGER)
    for _ in range(3):
        assert await read_on_all(pool, 3, "SELECT '[1]'") == [("[1]",)] * 3
        await manager.get_connection_pool(bare_database)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert 'no extension "vector"' in warnings[0]
    run(bare_database, "CREATE EXTENSION vector")
    await manager.get_connection_pool(bare_database)
    assert all(isinstance(row[0], Vector) for row in await read_on_all(pool, 3))


async def test_databases_do_not_mix(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """Pools for two databases that have different type identifiers do not affect each other."""
    other = server.create_database("types_of_another")
    run(other, "CREATE TABLE t (x int)", "CREATE EXTENSION vector")
    for url in (database, other, database):
        pool = await manager.get_connection_pool(url, EAGER)
        assert all(isinstance(row[0], Vector) for row in await read_on_all(pool, 3))
    await manager.close_all_pools()
    run(server.url, "DROP DATABASE types_of_another WITH (FORCE)")


async def test_health_check_is_cached(manager: GlobalConnectionManager, database: str) -> None:
    """A successful health check is valid for `health_check_interval`, or until a lease fails."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, health_check_interval=300.0)
    monitor = get_performance_monitor()
    monitor.clear_metrics("pool_health_check")
    pool = await manager.get_connection_pool(database, config)
    for _ in range(3):
        await manager.get_connection_pool(database)
        assert await manager.is_pool_healthy(pool, database)
    assert monitor.get_stats("pool_health_check") is None
    async with pool.connection():
        with pytest.raises(psycopg.OperationalError):
            await pool.getconn(timeout=0.05)
    await manager.get_connection_pool(database)
    checks = monitor.get_stats("pool_health_check")
    assert checks is not None
    assert checks.count == 1


async def test_a_refused_type_heals_at_once(
    manager: GlobalConnectionManager, database: str
) -> None:
    """If a write fails because the extension was recreated, the next lease knows the new types."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(min_size=1))
    async with pool.connection() as connection:
        await connection.execute(READ)
    run(database, "DROP EXTENSION vector CASCADE", "CREATE EXTENSION vector")
    with pytest.raises(psycopg.errors.InternalError_, match="cache lookup failed"):
        async with pool.connection() as connection:
            await connection.execute("SELECT %s::text", [Vector([1, 2])])
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT %s, '[1,2]'::vector", [Vector([1, 2])])
        assert await cursor.fetchone() == (Vector([1, 2]), Vector([1, 2]))


async def test_a_refused_type_that_was_caught_heals_at_once(
    manager: GlobalConnectionManager, database: str
) -> None:
    """A pool notices a write refused for a missing type even if the error is caught or replaced."""

    async def write(*, wrap: bool, autocommit: bool) -> None:
        async with manager.lease(database) as connection:
            await connection.set_autocommit(autocommit)
            try:
                await connection.execute("SELECT %s::text", [Vector([1, 2])])
            except psycopg.errors.InternalError_ as exc:
                if wrap:
                    raise LookupError("not stored") from exc
            else:
                raise AssertionError("the write must fail, because its type no longer exists")

    await manager.get_connection_pool(database, ConnectionPoolConfig(min_size=2, max_size=2))
    for wrap, autocommit in ((False, False), (True, False), (True, True)):
        async with manager.lease(database) as connection:
            await connection.execute(READ)
        run(database, "DROP EXTENSION vector CASCADE", "CREATE EXTENSION vector")
        with pytest.raises(LookupError) if wrap else nullcontext():
            await write(wrap=wrap, autocommit=autocommit)
        async with manager.lease(database) as connection:
            cursor = await connection.execute("SELECT %s", [Vector([1, 2])])
            assert await cursor.fetchone() == (Vector([1, 2]),)


async def test_a_cancelled_look_up_is_taken_over(database: str, server: EmbeddedServer) -> None:
    """If the task looking up the types is cancelled, one of the waiting tasks takes over."""
    types = DatabaseTypes("a database")
    with SlowProxy(server.port) as proxy:
        url = database.replace(f":{server.port}/", f":{proxy.port}/")
        connections = [await psycopg.AsyncConnection.connect(url) for _ in range(4)]
        proxy.silence()
        leader, *others = (
            asyncio.create_task(look_up_async(types, each, LIMIT)) for each in connections
        )
        await asyncio.sleep(0)  # The first task queries the server, the others wait for it.
        leader.cancel()
        proxy.resume()
        with pytest.raises(asyncio.CancelledError):
            await leader
        assert sorted(await asyncio.gather(*others)) == [False, False, True]
        assert types.current is not None
        assert len(types.current.rows) == 3
        for connection in connections:
            await connection.close()


async def test_an_update_that_adds_types(manager: GlobalConnectionManager, database: str) -> None:
    """If an extension update adds types, leases know them once `type_cache_ttl` has passed."""
    run(database, "ALTER EXTENSION vector DROP TYPE halfvec")  # as before pgvector 0.7
    config = ConnectionPoolConfig(min_size=2, max_size=2, type_cache_ttl=0.05)
    pool = await manager.get_connection_pool(database, config)
    query = "SELECT '[1]'::vector, '[1]'::halfvec"
    assert await read_on_all(pool, 2, query) == [(Vector([1]), "[1]")] * 2
    run(database, "ALTER EXTENSION vector ADD TYPE halfvec")
    await asyncio.sleep(0.1)
    assert await read_on_all(pool, 2, query) == [(Vector([1]), HalfVector([1]))] * 2


async def test_null_pools_share_the_types(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """All connections in a null pool know pgvector's types, which are looked up only once."""
    before = server.log_path.stat().st_size
    config = ConnectionPoolConfig(null_pool=True, max_size=3)
    pool = await manager.get_connection_pool(database, config)
    pids = set()
    for _ in range(3):
        async with manager.lease(database) as connection:
            row = await (await connection.execute(READ)).fetchone()
            assert row == (Vector([1, 2]), HalfVector([1]), SparseVector({0: 2}, 3), [Vector([3])])
            assert connection.prepare_threshold is None
            pids.add(connection.info.backend_pid)
    assert len(pids) == 3
    assert await read_on_all(pool, 3, "SELECT '[1]'::vector") == [(Vector([1]),)] * 3
    assert len(statements(server, before)) == 1
    assert await settles(lambda: backends(database) == 0)


async def test_null_pools_serve_who_waits(manager: GlobalConnectionManager, database: str) -> None:
    """If all of a null pool's connections are leased, a lease waits for one, or times out."""
    config = ConnectionPoolConfig(null_pool=True, max_size=1)
    pool = await manager.get_connection_pool(database, config)
    async with pool.connection():
        with pytest.raises(PoolExhausted):
            await pool.getconn(timeout=0.1)
        waiting = asyncio.create_task(backend(pool))
        assert await settles(lambda: pool.waiting_leases == 1)
    assert await waiting > 0
    assert await settles(lambda: backends(database) == 0)
    assert pool.get_stats()["pool_size"] == 0


async def test_null_pools_name_no_password(
    manager: GlobalConnectionManager, server: EmbeddedServer, bare_database: str
) -> None:
    """If a null pool cannot connect, the lease's error does not contain the password."""
    separator = "&" if "?" in bare_database else "?"
    url = f"{bare_database}{separator}password=S3cr3tM4rk"
    await manager.get_connection_pool(url, ConnectionPoolConfig(null_pool=True))
    run(server.url, f"ALTER DATABASE {bare_database.rpartition('/')[2]} ALLOW_CONNECTIONS false")
    with pytest.raises(PoolOpenError, match="not currently accepting connections") as caught:
        async with manager.lease(url):
            pass
    run(server.url, f"ALTER DATABASE {bare_database.rpartition('/')[2]} ALLOW_CONNECTIONS true")
    assert caught.value.pgconn is None
    assert caught.value.__context__ is None
    assert "S3cr3tM4rk" not in str(caught.value)


async def test_context_for_pools_of_others(database: str, server: EmbeddedServer) -> None:
    """`vector_context` adds pgvector's types to connections and pools not managed by nanospan."""
    before = server.log_path.stat().st_size
    with psycopg.connect(database, context=vector_context(database)) as connection:
        assert connection.execute("SELECT '[1]'::vector").fetchone() == (Vector([1]),)

    async def arguments() -> dict[str, Any]:
        return {"context": await vector_context_async(database)}

    async with (
        AsyncConnectionPool(database, kwargs=arguments, open=False) as pool,
        pool.connection() as other,
    ):
        row = await (await other.execute("SELECT %s", [Vector([1])])).fetchone()
    assert row == (Vector([1]),)
    assert len(statements(server, before)) == 1
    mine = vector_context(database)
    mine.register_loader("vector", psycopg.types.string.TextLoader)
    with psycopg.connect(database, context=vector_context(database)) as connection:
        assert connection.execute("SELECT '[1]'::vector").fetchone() == (Vector([1]),)


async def test_context_follows_changes(database: str) -> None:
    """`vector_context` looks up the types of a recreated extension after `type_cache_ttl`."""
    config = ConnectionPoolConfig(type_cache_ttl=0.05)
    assert await vector_context_async(database, config)
    run(database, "DROP EXTENSION vector", "CREATE EXTENSION vector")
    await asyncio.sleep(0.1)
    with psycopg.connect(database, context=vector_context(database, config)) as connection:
        assert connection.execute("SELECT '[1]'::vector").fetchone() == (Vector([1]),)


def test_context_of_no_server() -> None:
    """If the server is down, `vector_context` raises an error that does not show the password."""
    with pytest.raises(PoolOpenError, match="Connection refused") as caught:
        vector_context("postgresql://u:S3cr3tM4rk@127.0.0.1:1/d")
    assert "S3cr3tM4rk" not in str(caught.value)


def test_one_look_up_for_loops_and_threads(
    database: str, server: EmbeddedServer, sync_manager: SyncConnectionManager
) -> None:
    """Event loops and threads that start concurrently share a single look-up."""
    before = server.log_path.stat().st_size
    together = threading.Barrier(4)

    def in_a_loop() -> None:
        async def use() -> None:
            manager = get_global_connection_manager()
            async with manager.lease(database, config=EAGER) as connection:
                await connection.execute(READ)

        together.wait(20)
        asyncio.run(use())

    def in_a_thread() -> None:
        together.wait(20)
        with sync_manager.lease(database) as connection:
            connection.execute(READ)

    with ThreadPoolExecutor(4) as threads:
        kinds = (in_a_loop, in_a_thread, in_a_loop, in_a_thread)
        for future in [threads.submit(kind) for kind in kinds]:
            future.result(30)
    assert len(statements(server, before)) == 1


async def test_a_look_up_that_waits_for_this_thread(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A synchronous caller on an event loop's thread does not wait for that loop's look-up."""
    monkeypatch.setattr(lookup, "SYNC_PATIENCE", 0.01)
    types = DatabaseTypes("a database")
    async with await psycopg.AsyncConnection.connect(database) as connection:
        waits_for_us = asyncio.create_task(look_up_async(types, connection, LIMIT))
        await asyncio.sleep(0)
        assert types._lookups
        with psycopg.connect(database) as ours:
            assert lookup.look_up(types, ours, LIMIT)
            assert types.current is not None
        assert await waits_for_us


async def test_a_refused_write_between_getconn_and_putconn(
    manager: GlobalConnectionManager, database: str
) -> None:
    """If a write is refused for a missing type, returning its connection renews the types."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 1))
    run(database, "DROP EXTENSION vector", "CREATE EXTENSION vector")
    connection = await pool.getconn()
    with pytest.raises(psycopg.errors.InternalError_):
        await connection.execute("SELECT %s", [Vector([1])])
    await pool.putconn(connection)
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT %s", [Vector([1])])
        assert await cursor.fetchone() == (Vector([1]),)


async def test_a_refused_write_in_autocommit(
    manager: GlobalConnectionManager, database: str
) -> None:
    """If a write is refused for a missing type in autocommit mode, the next lease has new types."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 1))
    run(database, "DROP EXTENSION vector", "CREATE EXTENSION vector")
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        with pytest.raises(psycopg.errors.InternalError_):
            await connection.execute("SELECT %s", [Vector([1])])
        await connection.set_autocommit(False)
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT %s", [Vector([1])])
        assert await cursor.fetchone() == (Vector([1]),)
