"""Tests of both kinds of pool behind a real PgBouncer, with the settings that the page recommends.

All connections to a PgBouncer share one server connection here, where their prepared statements
would have the same names.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pgbouncer import PgBouncer
from pgvector import HalfVector, Vector
from pool_checks import LIMIT, ask, run, settles
from psycopg import sql

from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    PoolExhausted,
    PoolOpenError,
    SyncConnectionManager,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nanospan.demo.database import EmbeddedServer

    Bounce = Callable[..., PgBouncer]

SESSION = {"mode": "session"}
TRANSACTION = {"mode": "transaction"}
TRACKING = {"mode": "transaction", "tracks": True}
IDLE: dict[str, Any] = {"min_size": 2, "max_size": 2}
ONE: dict[str, Any] = {"min_size": 1, "max_size": 1}
NULL: dict[str, Any] = {"null_pool": True, "max_size": 2}
UNPREPARED: dict[str, Any] = {**IDLE, "prepare_threshold": None}
RECOMMENDED = pytest.mark.parametrize(
    ("pooler", "settings"),
    [
        (SESSION, ONE),
        (SESSION, NULL),
        (TRANSACTION, UNPREPARED),
        (TRANSACTION, NULL),
        (TRACKING, IDLE),
        (TRACKING, {**NULL, "prepare_threshold": 0}),
    ],
    ids=[
        "session",
        "session, null",
        "transaction",
        "transaction, null",
        "tracking",
        "tracking, null",
    ],
)
INSERT = "INSERT INTO memory VALUES (%s, %s)"
ROWS = [(Vector([1, 2]), HalfVector([3, 4]))] * 2
REPEATED = "SELECT embedding, half, %s::int FROM memory LIMIT 1"
TIMES = 14
"""More leases than psycopg prepares a statement after, on each of two connections."""


@pytest.fixture
def bounce(server: EmbeddedServer, tmp_path: Path) -> Iterator[Bounce]:
    """Yield a function that starts a PgBouncer in front of the session's server."""
    with ExitStack() as stack:
        yield lambda mode, **settings: stack.enter_context(
            PgBouncer(mode, server.port, tmp_path, **settings)
        )


@pytest.fixture(scope="module")
def memory(server: EmbeddedServer) -> str:
    """Return the URL of a database with a table of vectors, which the module's tests share."""
    url = server.create_database("behind_pgbouncer")
    run(
        url,
        "CREATE EXTENSION vector",
        "CREATE TABLE memory (embedding vector(2), half halfvec(2))",
    )
    return url


async def repeat(manager: GlobalConnectionManager, url: str, settings: dict[str, Any]) -> Any:
    """Execute the same statements in many leases, and return the last row."""
    pool = await manager.get_connection_pool(url, ConnectionPoolConfig(**settings))
    await pool.wait(LIMIT)
    for number in range(TIMES):
        async with pool.connection() as connection:
            await connection.cursor().executemany(INSERT, ROWS)
            row = await (await connection.execute(REPEATED, [number])).fetchone()
    return row


@RECOMMENDED
async def test_recommended_settings(
    manager: GlobalConnectionManager,
    memory: str,
    bounce: Bounce,
    pooler: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """With the settings that the page recommends, repeated statements work and return vectors."""
    url = bounce(**pooler).url(memory)
    assert await repeat(manager, url, settings) == (*ROWS[0], TIMES - 1)


@RECOMMENDED
def test_recommended_settings_without_an_event_loop(
    sync_manager: SyncConnectionManager,
    memory: str,
    bounce: Bounce,
    pooler: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Synchronous pools work with the same settings."""
    url = bounce(**pooler).url(memory)
    pool = sync_manager.get_connection_pool(url, ConnectionPoolConfig(**settings))
    pool.wait(LIMIT)
    for number in range(TIMES):
        with pool.connection() as connection:
            connection.cursor().executemany(INSERT, ROWS)
            row = connection.execute(REPEATED, [number]).fetchone()
    assert row == (*ROWS[0], TIMES - 1)


@pytest.mark.parametrize("settings", [IDLE, {**NULL, "prepare_threshold": 0}], ids=["idle", "null"])
async def test_prepared_statements_collide(
    manager: GlobalConnectionManager, memory: str, bounce: Bounce, settings: dict[str, Any]
) -> None:
    """In transaction mode, statements that two connections prepare under one name collide."""
    url = bounce("transaction").url(memory)
    with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
        await repeat(manager, url, settings)


async def test_a_restart_of_pgbouncer(
    manager: GlobalConnectionManager, memory: str, bounce: Bounce
) -> None:
    """Idle connections that end with PgBouncer are replaced before a lease gets one."""
    bouncer = bounce("transaction")
    config = ConnectionPoolConfig(**UNPREPARED)
    pool = await manager.get_connection_pool(bouncer.url(memory), config)
    await pool.wait(LIMIT)
    bouncer.stop()
    bouncer.start()
    for _ in range(2):
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")


async def test_a_cancelled_statement_ends_on_the_server(
    manager: GlobalConnectionManager, memory: str, bounce: Bounce
) -> None:
    """Cancelling a task ends its statement through PgBouncer; the connection can be used again."""
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)'"
    config = ConnectionPoolConfig(**ONE, prepare_threshold=None)
    url = bounce("transaction").url(memory)
    pool = await manager.get_connection_pool(url, config)

    async def sleep() -> None:
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_sleep(300)")

    task = asyncio.create_task(sleep())
    assert await settles(lambda: ask(memory, sleeping + " AND state = 'active'"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")
    assert ask(memory, sleeping) == 0


def accept_connections(server: EmbeddedServer, database: str, accepted: bool) -> None:
    """Have the server accept connections to a database, or refuse them and end those it has."""
    name = database.rpartition("/")[2]
    alter = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), accepted)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(alter)
        if not accepted:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
                [name],
            )


@pytest.mark.parametrize("settings", [UNPREPARED, NULL], ids=["idle", "null"])
async def test_a_server_that_is_down_is_noticed(
    manager: GlobalConnectionManager,
    server: EmbeddedServer,
    database: str,
    bounce: Bounce,
    settings: dict[str, Any],
) -> None:
    """PgBouncer accepts connections to a server that is down; health checks ask the server."""
    url = bounce("transaction", server_login_retry=0.1, query_wait_timeout=0.2).url(database)
    config = ConnectionPoolConfig(**settings, health_check_interval=0)
    pool = await manager.get_connection_pool(url, config)
    assert await manager.is_pool_healthy(pool, url)
    accept_connections(server, database, False)
    assert not await manager.is_pool_healthy(pool, url)
    await manager.close_all_pools()
    with pytest.raises(PoolOpenError):
        await manager.get_connection_pool(url, config)


async def test_a_lease_waits_for_the_server(
    manager: GlobalConnectionManager, server: EmbeddedServer, database: str, bounce: Bounce
) -> None:
    """While the server behind PgBouncer is down, one request fails; later leases wait for it."""
    url = bounce("transaction", server_login_retry=0.1, query_wait_timeout=0.2).url(database)
    config = ConnectionPoolConfig(**ONE, prepare_threshold=None, timeout=LIMIT)
    pool = await manager.get_connection_pool(url, config)

    async def request() -> None:
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")

    await request()
    accept_connections(server, database, False)
    with pytest.raises(psycopg.OperationalError):
        await request()
    waiting = asyncio.create_task(request())
    assert await settles(lambda: pool.waiting_leases == 1)
    accept_connections(server, database, True)
    await waiting


def test_a_synchronous_lease_waits_for_the_server(
    sync_manager: SyncConnectionManager, server: EmbeddedServer, database: str, bounce: Bounce
) -> None:
    """While the server behind PgBouncer is down, one request fails; leases then get none."""
    url = bounce("transaction", server_login_retry=0.1, query_wait_timeout=0.2).url(database)
    config = ConnectionPoolConfig(**ONE, prepare_threshold=None, timeout=LIMIT)
    pool = sync_manager.get_connection_pool(url, config)

    def request(timeout: float | None = None) -> None:
        with pool.connection(timeout) as connection:
            connection.execute("SELECT 1")

    request()
    accept_connections(server, database, False)
    with pytest.raises(psycopg.OperationalError):
        request()
    with pytest.raises(PoolExhausted):
        request(0.1)
    accept_connections(server, database, True)
    request()


async def test_parameters_that_pgbouncer_refuses(
    manager: GlobalConnectionManager, memory: str, bounce: Bounce
) -> None:
    """If the connection string has a parameter that PgBouncer refuses, the error names it."""
    url = f"{bounce('session').url(memory)}?options=-cstatement_timeout%3D1000"
    with pytest.raises(PoolOpenError, match="unsupported startup parameter"):
        await manager.get_connection_pool(url)
