"""Tests that opening a pool fails promptly if the server refuses, is down or does not respond."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from pool_checks import LIMIT, settles
from slow_proxy import SlowProxy

from nanospan.demo.database import EmbeddedServer
from nanospan.pool import (
    ConnectionPoolConfig,
    ConninfoError,
    GlobalConnectionManager,
    PoolExhausted,
    PoolOpenError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MARK = "S3cr3tM4rk"
ROLE = "pool_password_role"
CONFIG = ConnectionPoolConfig(min_size=1, max_size=2, connection_timeout=3 * LIMIT)


@pytest.fixture
def guarded(server: EmbeddedServer, bare_database: str) -> Iterator[str]:
    """Yield a connection string without a password, for a role that needs a password."""
    rules = server.data_path / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'right-{MARK}'")
        rules.write_text(f"host all {ROLE} all scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        name = connection.info.dbname
    yield f"host=127.0.0.1 port={server.port} dbname={name} user={ROLE}"
    rules.write_text(before)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"DROP ROLE {ROLE}")


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Yield the port of a server that accepts connections but never responds."""
    closing = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closing.wait()
        writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        closing.set()
        listener.close()


def closed_port() -> int:
    """Return a port on which no server listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def refused(
    manager: GlobalConnectionManager,
    conninfo: str,
    caplog: pytest.LogCaptureFixture,
    config: ConnectionPoolConfig = CONFIG,
) -> str:
    """Assert that opening a pool fails without leaking a password; return the error's message."""
    started = time.monotonic()
    with caplog.at_level(logging.DEBUG), pytest.raises(PoolOpenError) as caught:
        await manager.get_connection_pool(conninfo, config)
    assert time.monotonic() - started < LIMIT
    error = caught.value
    assert isinstance(error, psycopg.OperationalError)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert error.pgconn is None
    written = "".join(traceback.format_exception(error)) + caplog.text + repr(error)
    assert MARK not in written.replace(conninfo, "")
    assert MARK not in repr(manager.get_pool_statistics())
    assert manager.get_pool_statistics() == {}
    return str(error)


async def test_wrong_password(
    manager: GlobalConnectionManager, guarded: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password fails with the server's message; the right password works afterwards."""
    message = await refused(manager, f"{guarded} password=wrong-{MARK}", caplog)
    assert "password authentication failed" in message
    assert ROLE in message
    pool = await manager.get_connection_pool(f"{guarded} password=right-{MARK}", CONFIG)
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")
    assert MARK not in repr(pool)
    assert MARK not in repr(manager.get_pool_statistics())
    assert MARK not in caplog.text


async def test_no_server(
    manager: GlobalConnectionManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Connecting to a port on which no server listens fails at once."""
    url = f"postgresql://u:{MARK}@127.0.0.1:{closed_port()}/d"
    assert "Connection refused" in await refused(manager, url, caplog)


async def test_silent_server(
    manager: GlobalConnectionManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Connecting to a server that never responds fails after `connection_timeout`."""
    config = ConnectionPoolConfig(connection_timeout=1.5)
    async with silent_server() as port:
        url = f"postgresql://u:{MARK}@127.0.0.1:{port}/d"
        message = await refused(manager, url, caplog, config)
    assert "no answer within 1.5 s" in message


async def test_unknown_database(
    manager: GlobalConnectionManager, server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The error for a database that does not exist names it."""
    message = await refused(manager, server.database_url("nowhere"), caplog)
    assert '"nowhere" does not exist' in message


async def test_concurrent_callers_all_learn(manager: GlobalConnectionManager) -> None:
    """If a pool cannot be opened, all concurrent callers get the error."""
    url = f"postgresql://u:{MARK}@127.0.0.1:{closed_port()}/d"
    calls = (manager.get_connection_pool(url, CONFIG) for _ in range(3))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PoolOpenError] * 3


async def test_unreadable_conninfo(
    manager: GlobalConnectionManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The error for an invalid connection string does not quote it."""
    with caplog.at_level(logging.DEBUG), pytest.raises(ConninfoError) as caught:
        await manager.get_connection_pool(f"host=h password=two {MARK}")
    assert MARK not in str(caught.value)
    assert MARK not in caplog.text


async def test_warm_up_reports_failures(
    manager: GlobalConnectionManager, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Warm-up reports failures and warms the other pools; with `strict`, it raises the failure."""
    dead = f"postgresql://u:{MARK}@127.0.0.1:{closed_port()}/d"
    first, second, third = await manager.warmup_common_pools(
        [dead, database, f"password=two {MARK}"], CONFIG
    )
    no_name = f"postgresql://u@{'a' * 70}.test/d"  # too long a label for DNS
    [refused] = await manager.warmup_common_pools([no_name], CONFIG)
    assert isinstance(refused.error, PoolOpenError)
    assert isinstance(first.error, PoolOpenError)
    assert first.connections == 0
    assert second.error is None
    assert second.connections == 1
    assert isinstance(third.error, ConninfoError)
    assert caplog.text.count("warm-up of") == 3
    assert MARK not in caplog.text
    assert MARK not in repr((first, second, third))
    with pytest.raises(PoolOpenError):
        await manager.warmup_common_pools([dead, database], CONFIG, strict=True)


async def test_slow_warm_up_leaves_the_pool_open(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """If warm-up does not reach `min_size` in time, it reports an error and keeps the pool open."""
    config = ConnectionPoolConfig(min_size=2, max_size=2, connection_timeout=5.0)
    with SlowProxy(server.port) as proxy:
        url = database.replace(f":{server.port}/", f":{proxy.port}/")
        pool = await manager.get_connection_pool(url, config)
        await pool.wait(LIMIT)
        proxy.silence()
        proxy.cut()
        assert await settles(lambda: pool.idle_connections == 0)
        slow, fast = await manager.warmup_common_pools([url, database], config)
        assert isinstance(slow.error, PoolExhausted)
        assert fast.error is None
        assert fast.connections == 2
        assert not pool.closed
        proxy.resume()
        (report,) = await manager.warmup_common_pools([url], strict=True)
        assert report.connections == 2
        await manager.close_all_pools()


async def test_outage(manager: GlobalConnectionManager) -> None:
    """Requesting a pool whose server is down fails with the reason; later the pool works again."""
    with EmbeddedServer(settings={"listen_addresses": "127.0.0.1"}) as own:
        config = ConnectionPoolConfig(
            min_size=2, max_size=2, health_check_interval=0.0, connection_timeout=4.0
        )
        pool = await manager.get_connection_pool(own.url, config)
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
        await asyncio.to_thread(own.stop)
        with pytest.raises(PoolOpenError, match="Connection refused"):
            await manager.get_connection_pool(own.url)
        assert not await manager.is_pool_healthy(pool, own.url)
        await asyncio.to_thread(own.start)
        assert await manager.get_connection_pool(own.url) is pool
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
        await manager.close_all_pools()


async def test_health_of_strangers(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """A closed pool is reported as unhealthy, and so is a pool that belongs to a different URL."""
    pool = await manager.get_connection_pool(database, CONFIG)
    assert await manager.is_pool_healthy(pool, database)
    assert not await manager.is_pool_healthy(pool, server.url)
    await manager.close_pool(database)
    assert not await manager.is_pool_healthy(pool, database)


@pytest.mark.parametrize("min_size", [0, 1])
@pytest.mark.parametrize("ticks", [0, 1, 2, 3])
def test_a_loop_that_ends_right_after_opening_ends(
    bare_database: str, min_size: int, ticks: int
) -> None:
    """A program exits at once even if its pool is still opening connections."""
    code = f"""
import asyncio
from nanospan.pool import ConnectionPoolConfig, get_global_connection_manager
async def main():
    config = ConnectionPoolConfig(min_size={min_size}, max_size=5)
    await get_global_connection_manager().get_connection_pool({bare_database!r}, config)
    for _ in range({ticks}):
        await asyncio.sleep(0)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT, capture_output=True)


async def test_wrong_kinds_of_arguments(
    manager: GlobalConnectionManager, bare_database: str
) -> None:
    """Neither a mapping nor settings as `config`, or a string as URLs, raises a TypeError."""
    for wrong in (3, "pool_size=3", [("pool_size", 3)]):
        with pytest.raises(TypeError, match="config must be a mapping or ConnectionPoolConfig"):
            await manager.get_connection_pool(bare_database, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="iterable of connection strings"):
        await manager.warmup_common_pools(bare_database)
