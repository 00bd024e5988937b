"""Tests that pools follow a database to another server, and leave one that became read-only."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
import traceback
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pgbouncer import PgBouncer
from pgvector import Vector
from pool_checks import LIMIT, ask, backends, kill_backends, run, settles, settles_here
from slow_proxy import SlowProxy

from nanospan.demo.database import EmbeddedServer
from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    PoolExhausted,
    PoolOpenError,
    SyncConnectionManager,
)
from nanospan.pool.session_attrs import SessionAttrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SWEEP = 0.2
TWO = ConnectionPoolConfig(min_size=2, max_size=2, timeout=LIMIT, leak_after=SWEEP)
"""Sweeps the idle connections as often as it reports leaks."""
PORT = "SELECT current_setting('port')::int"
READ_WRITE = {"target_session_attrs": "read-write"}
USER = "SELECT current_user"
PID = "SELECT pg_backend_pid()"
READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = on"
WRITABLE = "ALTER SYSTEM RESET default_transaction_read_only"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """Yield two servers whose pgvector types have different identifiers."""
    settings = {"listen_addresses": "127.0.0.1"}
    with EmbeddedServer(settings=settings) as first, EmbeddedServer(settings=settings) as second:
        run(first.url, "CREATE EXTENSION vector")
        run(second.url, "CREATE TABLE takes_identifiers ()", "CREATE EXTENSION vector")
        yield first, second


@pytest.fixture
def first(servers: tuple[EmbeddedServer, EmbeddedServer]) -> Iterator[EmbeddedServer]:
    """Yield the first server, which is running and writable before and after the test."""
    yield servers[0]
    servers[0].start()
    if ask(servers[0].url, "SELECT pg_is_in_recovery()"):
        run(servers[0].url, "SELECT pg_promote()")
    reload(servers[0], WRITABLE)


@pytest.fixture
def second(servers: tuple[EmbeddedServer, EmbeddedServer]) -> Iterator[EmbeddedServer]:
    """Yield the second server, which is writable before and after the test."""
    yield servers[1]
    reload(servers[1], WRITABLE)


def reload(server: EmbeddedServer, statement: str) -> None:
    """Change a server's settings, and return when every session has been told to reload them.

    The server signals its sessions before it accepts a connection that has the new settings.
    """
    run(server.url, "SET default_transaction_read_only = off", statement)
    run(server.url, "SELECT pg_reload_conf()")
    expected = "on" if statement == READ_ONLY else "off"
    assert settles_here(lambda: ask(server.url, "SHOW default_transaction_read_only") == expected)


def restart_as_standby(server: EmbeddedServer) -> None:
    """Restart a server in hot standby mode, with no primary to follow."""
    server.stop()
    (server.data_path / "standby.signal").touch()
    server.start()


def url_of(*ports: int, attrs: str = "read-write") -> str:
    """Return a URL with a host for each port."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://postgres@{hosts}/postgres?target_session_attrs={attrs}"


async def port_of(pool: Any, query: str = PORT) -> Any:
    """Return the answer of a leased connection's server, which is its port by default."""
    async with pool.connection() as connection:
        (answer,) = await (await connection.execute(query)).fetchone()
        return answer


@pytest.mark.parametrize("state", ["writable", "read-only by default", "standby"])
def test_libpq_agrees(first: EmbeddedServer, state: str) -> None:
    """A server meets a requirement, by its reports and answers, exactly if libpq connects to it."""
    if state == "standby":
        restart_as_standby(first)
    elif state == "read-only by default":
        reload(first, READ_ONLY)

    def libpq_connects(required: str) -> bool:
        try:
            psycopg.connect(url_of(first.port, attrs=required)).close()
        except psycopg.OperationalError:
            return False
        return True

    def answer_meets(attrs: SessionAttrs) -> bool:
        try:
            attrs.confirm(connection.execute(attrs.query).pgresult, 1.0)
        except psycopg.OperationalError:
            return False
        return True

    with psycopg.connect(first.url, autocommit=True) as connection:
        for required in ("read-write", "read-only", "primary", "standby"):
            attrs = SessionAttrs(connection.pgconn, required, 0.0)
            expected = libpq_connects(required)
            assert (attrs.hold(0.0), answer_meets(attrs)) == (expected, expected), required


async def test_read_only_servers_get_no_lease(
    manager: GlobalConnectionManager, first: EmbeddedServer, second: EmbeddedServer
) -> None:
    """While an address leads to a read-only server, leases fail and say so; then the pool heals."""
    reload(second, READ_ONLY)
    with SlowProxy(first.port) as proxy:
        pool = await manager.get_connection_pool(url_of(proxy.port), TWO)
        assert await port_of(pool) == first.port
        proxy.move(second.port)
        proxy.cut()
        assert await settles(lambda: pool.get_stats().get("connections_errors"))
        with pytest.raises(PoolExhausted, match=r"read-only.*\n.*target_session_attrs=read-write"):
            await pool.getconn(timeout=0.1)
        reload(second, WRITABLE)
        assert await port_of(pool) == second.port
        assert await port_of(pool, "SELECT '[1]'::vector") == Vector([1])
        await manager.close_all_pools()


async def test_a_server_that_becomes_read_only(
    manager: GlobalConnectionManager, first: EmbeddedServer, second: EmbeddedServer
) -> None:
    """No lease gets a server that has been read-only for a sweep's interval."""
    url, config = url_of(first.port, second.port, attrs="any"), replace(TWO, kwargs=READ_WRITE)
    pool = await manager.get_connection_pool(url, config)
    assert await port_of(pool) == first.port
    reload(first, READ_ONLY)
    since = time.monotonic()
    ports: list[int] = []
    while len(ports) < 100:
        began = time.monotonic()
        # Without a statement, so that the server does not report the change by itself.
        async with pool.connection() as connection:
            port = connection.info.port
        if began > since + SWEEP:
            ports.append(port)
        await asyncio.sleep(0)
    assert set(ports) == {second.port}
    await manager.close_all_pools()


async def test_reports_of_the_server(
    manager: GlobalConnectionManager, first: EmbeddedServer, second: EmbeddedServer
) -> None:
    """A lease whose statements show that the server is read-only is the connection's last."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, timeout=LIMIT)
    pool = await manager.get_connection_pool(url_of(first.port, second.port), config)
    async with pool.connection() as connection:
        reload(first, READ_ONLY)
        await connection.execute("SELECT 1")
    assert await port_of(pool) == second.port
    await manager.close_all_pools()


async def test_a_session_that_a_lease_made_read_only(
    manager: GlobalConnectionManager, first: EmbeddedServer, second: EmbeddedServer
) -> None:
    """The traces that a lease leaves in its session are not taken for the server's."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, timeout=LIMIT)
    pool = await manager.get_connection_pool(url_of(first.port, second.port), config)
    async with pool.connection() as connection:
        await connection.execute("SET default_transaction_read_only = on")
    assert await port_of(pool) == first.port
    assert await port_of(pool, "SHOW transaction_read_only") == "off"
    await manager.close_all_pools()


async def test_promoted_standbys(
    manager: GlobalConnectionManager, first: EmbeddedServer, second: EmbeddedServer
) -> None:
    """Without any lease, a pool for standbys leaves one that is promoted, and finds the next."""
    restart_as_standby(first)
    url = url_of(first.port, second.port, attrs="standby")
    pool = await manager.get_connection_pool(url, TWO)
    await pool.wait(LIMIT)
    run(first.url, "SELECT pg_promote()")
    assert await settles(lambda: backends(first.url) == 0)
    assert await settles(lambda: pool.get_stats().get("connections_errors"))
    with pytest.raises(PoolExhausted, match="server is not in hot standby mode"):
        await pool.getconn(timeout=0.1)
    await asyncio.to_thread(restart_as_standby, first)
    assert await port_of(pool) == first.port
    await manager.close_all_pools()


async def test_reports_of_a_pooler(
    manager: GlobalConnectionManager, first: EmbeddedServer, tmp_path: Path
) -> None:
    """If PgBouncer repeats what the server reported before, no lease gets the wrong server."""
    restart_as_standby(first)
    config = replace(TWO, prepare_threshold=None)
    with PgBouncer("transaction", first.port, tmp_path) as pooler:
        url = f"{pooler.url(first.url)}?target_session_attrs="
        pool = await manager.get_connection_pool(f"{url}standby", config)
        assert await port_of(pool, "SELECT pg_is_in_recovery()")
        run(first.url, "SELECT pg_promote()")
        psycopg.connect(f"{url}standby").close()
        assert await settles(lambda: pool.get_stats().get("connections_errors"))
        with pytest.raises(PoolExhausted, match="the server is not a standby"):
            await pool.getconn(timeout=SWEEP)
        await manager.close_all_pools()


async def test_hosts_that_die(
    manager: GlobalConnectionManager,
    sync_manager: SyncConnectionManager,
    first: EmbeddedServer,
    second: EmbeddedServer,
) -> None:
    """If the first of several hosts stops, leases get the next; if that is read-only, the first."""
    url = url_of(first.port, second.port)
    pool = await manager.get_connection_pool(url, TWO)
    twin = sync_manager.get_connection_pool(url, TWO)

    def twins_port() -> int:
        with twin.connection() as connection:
            return int(connection.execute(PORT).fetchone()[0])

    async def ports() -> set[int]:
        return set(await asyncio.gather(port_of(pool), asyncio.to_thread(twins_port)))

    assert await ports() == {first.port}
    first.stop()
    assert await ports() == {second.port}
    first.start()
    reload(second, READ_ONLY)
    assert await settles(lambda: backends(second.url) == 0)
    assert await ports() == {first.port}
    sync_manager.close_all_pools()
    await manager.close_all_pools()


async def test_no_right_server_at_the_start(
    manager: GlobalConnectionManager, sync_manager: SyncConnectionManager, first: EmbeddedServer
) -> None:
    """Without a server of the right kind, opening a pool fails with libpq's reason."""
    url = url_of(first.port, attrs="read-only")
    with pytest.raises(PoolOpenError, match="session is not read-only"):
        await manager.get_connection_pool(url, TWO)
    with pytest.raises(PoolOpenError, match="session is not read-only"):
        sync_manager.get_connection_pool(url, TWO)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
@pytest.mark.parametrize("attrs", ["any", "read-write"])
async def test_an_address_that_moves(
    manager: GlobalConnectionManager,
    first: EmbeddedServer,
    second: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    attrs: str,
) -> None:
    """A pool follows its host's name to another address, and reads that server's vectors."""
    resolve, address = socket.getaddrinfo, "127.0.0.1"

    def resolve_database(host: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve(address if host == "database.test" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_database)
    with ExitStack() as stack:
        here = stack.enter_context(SlowProxy(first.port))
        stack.enter_context(SlowProxy(second.port, listen=("127.0.0.2", here.port)))
        url = (
            f"postgresql://postgres@database.test:{here.port}/postgres?target_session_attrs={attrs}"
        )
        pool = await manager.get_connection_pool(url, TWO)
        assert await port_of(pool) == first.port
        address = "127.0.0.2"
        if attrs == "any":
            here.cut()
        else:
            reload(first, READ_ONLY)
            assert await settles(lambda: backends(first.url) == 0)
        for _ in range(4):
            assert await port_of(pool) == second.port
            assert await port_of(pool, "SELECT '[1]'::vector") == Vector([1])
        await manager.close_all_pools()


async def test_pools_without_requirements(
    manager: GlobalConnectionManager, first: EmbeddedServer
) -> None:
    """A pool whose URL has no `target_session_attrs` keeps its connections to any server."""
    pool = await manager.get_connection_pool(first.url, TWO)
    await pool.wait(LIMIT)
    before = {await port_of(pool, PID) for _ in range(2)}
    reload(first, READ_ONLY)
    await asyncio.sleep(2 * SWEEP)
    assert {await port_of(pool, PID) for _ in range(2)} == before
    await manager.close_all_pools()


@pytest.fixture
def role(first: EmbeddedServer) -> Iterator[Callable[[str], None]]:
    """Yield a function that sets the password of the role `app`, which must log in with it."""
    access = first.data_path / "pg_hba.conf"
    before = access.read_text()
    access.write_text(f"host all app 127.0.0.1/32 scram-sha-256\n{before}")
    run(first.url, "SELECT pg_reload_conf()", "CREATE ROLE app LOGIN")
    yield lambda password: run(first.url, f"ALTER ROLE app PASSWORD '{password}'")
    access.write_text(before)
    run(first.url, "DROP ROLE app", "SELECT pg_reload_conf()")


async def test_passwords_that_change(
    manager: GlobalConnectionManager,
    sync_manager: SyncConnectionManager,
    first: EmbeddedServer,
    role: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A pool connects with the current password, heals after a wrong one, and shows neither."""
    password = "first-S3cr3tM4rk"

    def conninfo() -> str:
        return f"postgresql://app:{password}@127.0.0.1:{first.port}/postgres"

    async def conninfo_async() -> str:
        return conninfo()

    def twins_user() -> str:
        with twin.connection() as connection:
            return str(connection.execute(USER).fetchone()[0])

    async def users() -> list[str]:
        return await asyncio.gather(port_of(pool, USER), asyncio.to_thread(twins_user))

    role(password)
    pool = await manager.get_connection_pool(conninfo_async, TWO)
    twin = await asyncio.to_thread(sync_manager.get_connection_pool, conninfo, TWO)
    assert await users() == ["app", "app"]
    password = "second-S3cr3tM4rk"
    role(password)
    await asyncio.to_thread(kill_backends, first.url)
    assert await users() == ["app", "app"]

    role("third-S3cr3tM4rk")
    failures = [each.get_stats().get("connections_errors", 0) for each in (pool, twin)]
    await asyncio.to_thread(kill_backends, first.url)
    for each, before in zip((pool, twin), failures, strict=True):
        assert await settles(lambda: each.get_stats().get("connections_errors", 0) > before)  # noqa: B023 - called at once
    shown = []
    for lease in (pool.getconn(timeout=0.2), asyncio.to_thread(twin.getconn, timeout=0.2)):
        with pytest.raises(PoolExhausted, match="password authentication failed") as caught:
            await lease
        shown += traceback.format_exception(caught.value)
    password = "third-S3cr3tM4rk"
    assert await users() == ["app", "app"]

    statistics = manager.get_pool_statistics(), sync_manager.get_pool_statistics()
    shown += [repr(pool), repr(twin), repr(statistics), caplog.text]
    assert "app" in str(statistics)
    assert "S3cr3tM4rk" not in "".join(shown)
    await manager.close_all_pools()
    sync_manager.close_all_pools()
