"""Tests that what a pool itself waits for ends in time, whatever the server does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import hostile_servers as hostile
import pytest
from hostile_servers import HostileServer
from pool_checks import LIMIT, settles, settles_here

from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    PoolExhausted,
    PoolOpenError,
    SyncConnectionManager,
    SyncVectorPool,
    VectorPool,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

SHORT = 0.3
CONFIG = ConnectionPoolConfig(min_size=1, max_size=1, connection_timeout=SHORT)
ONE_WORKER: Any = {
    "min_size": 1,
    "max_size": 1,
    "num_workers": 1,
    "connection_timeout": SHORT,
    "timeout": LIMIT,
}


@pytest.mark.parametrize(
    "behave", [hostile.mute, hostile.drip_postgres_login, hostile.drip_postgres_answer]
)
async def test_servers_that_never_finish(
    manager: GlobalConnectionManager,
    sync_manager: SyncConnectionManager,
    behave: Callable[[HostileServer, socket.socket], object],
) -> None:
    """Opening a pool fails in time, though bytes arrive all the time, in logging in or later."""
    with HostileServer(behave) as server:
        url = f"postgresql://u@127.0.0.1:{server.port}/d?sslmode=disable"
        errors = await asyncio.gather(
            manager.get_connection_pool(url, CONFIG),
            asyncio.to_thread(sync_manager.get_connection_pool, url, CONFIG),
            return_exceptions=True,
        )
    assert [type(error) for error in errors] == [PoolOpenError] * 2


async def test_an_open_pool_of_a_server_that_never_answers() -> None:
    """A lazily opened pool tries again and again, and closes at once."""
    with HostileServer(hostile.drip_postgres_answer) as server:
        url = f"postgresql://u@127.0.0.1:{server.port}/d?sslmode=disable"
        async with VectorPool(url, **ONE_WORKER) as pool:
            with pytest.raises(PoolExhausted):
                await pool.getconn(timeout=SHORT)
            assert await settles(lambda: server.accepted >= 3)
        with SyncVectorPool(url, **ONE_WORKER) as sync_pool:
            before = server.accepted
            assert await settles(lambda: server.accepted >= before + 3)
            sync_pool.close(LIMIT)


async def test_a_function_that_configures_for_ever(database: str) -> None:
    """A `configure` that waits for the server, or for anything else, does not keep the worker."""
    calls: list[str] = []

    async def configure(connection: Any) -> None:
        calls.append("")
        if len(calls) == 1:
            await connection.execute("SELECT pg_sleep(60)")
        elif len(calls) == 2:
            await asyncio.Event().wait()

    async with (
        VectorPool(database, configure=configure, **ONE_WORKER) as pool,
        pool.connection() as connection,
    ):
        await connection.execute("SELECT 1")
    assert len(calls) >= 3


def test_a_function_that_configures_for_long_in_a_thread(database: str) -> None:
    """A synchronous `configure` that waits for the server is ended, too."""
    calls: list[str] = []

    def configure(connection: Any) -> None:
        calls.append("")
        if len(calls) == 1:
            connection.execute("SELECT pg_sleep(60)")
            connection.rollback()

    with SyncVectorPool(database, configure=configure, **ONE_WORKER) as pool:
        assert settles_here(lambda: pool.get_stats().get("connections_errors"))
        with pool.connection() as connection:
            connection.execute("SELECT 1")
    assert len(calls) >= 2


async def test_a_function_that_never_returns_the_connection_string(
    manager: GlobalConnectionManager, database: str
) -> None:
    """An asynchronous function that hangs ends the attempt, and is called again for the next."""
    calls: list[float] = []

    async def conninfo() -> str:
        calls.append(time.monotonic())
        if len(calls) == 1:
            await asyncio.Event().wait()
        return database

    async with VectorPool(conninfo, **ONE_WORKER) as pool, pool.connection() as connection:
        await connection.execute("SELECT 1")
    assert len(calls) >= 2
    with pytest.raises(PoolOpenError, match=r"no answer within 0\.3 s"):
        await manager.get_connection_pool(database, CONFIG, kwargs=_never)


def test_a_function_that_returns_the_connection_string_late(database: str) -> None:
    """A synchronous function may take longer than the limit, which applies to what follows it."""

    def conninfo() -> str:
        time.sleep(1.2 * SHORT)
        return database

    with SyncVectorPool(conninfo, **ONE_WORKER) as pool, pool.connection() as connection:
        connection.execute("SELECT 1")


async def _never() -> None:
    await asyncio.Event().wait()
