"""Tests that pools survive real faults without losing a connection or a task."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pgvector import Vector
from pool_checks import LIMIT, assert_sound, backend, backends, kill_backends, run, settles
from slow_proxy import SlowProxy

from nanospan.demo.database import EmbeddedServer
from nanospan.pool import ConnectionPoolConfig, GlobalConnectionManager, PoolExhausted
from nanospan.pool.connections import VectorConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

FOUR = ConnectionPoolConfig(min_size=4, max_size=4, timeout=LIMIT)


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """Yield a server that tests may stop and that allows few connections."""
    settings = {"listen_addresses": "127.0.0.1", "max_connections": "12"}
    with EmbeddedServer(settings=settings) as embedded:
        yield embedded


def through(url: str, proxy: SlowProxy, server: EmbeddedServer) -> str:
    """Return the database's URL with the server's port replaced by the proxy's port."""
    return url.replace(f":{server.port}/", f":{proxy.port}/")


async def test_killed_backends(manager: GlobalConnectionManager, database: str) -> None:
    """If the server terminates all idle connections, no lease fails."""
    (report,) = await manager.warmup_common_pools([database], FOUR)
    assert report.connections == 4
    assert await asyncio.to_thread(kill_backends, database) == 4
    pool = await manager.get_connection_pool(database)
    pids = await asyncio.gather(*(backend(pool) for _ in range(40)))
    assert all(pids)
    assert pool.get_stats()["connections_lost"] >= 1
    await assert_sound(manager, pool, database)


async def test_backends_killed_under_load(manager: GlobalConnectionManager, database: str) -> None:
    """Under load, each connection that the server terminates fails at most one statement."""
    pool = await manager.get_connection_pool(database, FOUR)
    stop = asyncio.Event()
    outcomes: list[psycopg.Error | None] = []

    async def work() -> None:
        while not stop.is_set():
            try:
                await backend(pool)
                outcomes.append(None)
            except psycopg.OperationalError as exc:
                outcomes.append(exc)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    killed = 0
    for _ in range(5):
        await asyncio.sleep(0.05)
        killed += await asyncio.to_thread(kill_backends, database)
    before = len(outcomes)
    assert await settles(lambda: len(outcomes) > before + 50)
    stop.set()
    await asyncio.gather(*workers)
    errors = [outcome for outcome in outcomes if outcome is not None]
    assert len(errors) <= killed
    assert not [error for error in errors if isinstance(error, PoolExhausted)]
    await assert_sound(manager, pool, database)


async def test_restart(manager: GlobalConnectionManager, own_server: EmbeddedServer) -> None:
    """No request fails after a server restart."""
    pool = await manager.get_connection_pool(own_server.url, FOUR)
    await pool.wait(LIMIT)
    await asyncio.to_thread(own_server.stop)
    await asyncio.to_thread(own_server.start)

    async def use() -> None:
        async with manager.lease(own_server.url) as connection:
            await connection.execute("SELECT 1")

    await asyncio.gather(*(use() for _ in range(20)))
    await assert_sound(manager, pool, own_server.url)


async def test_a_restart_hidden_by_the_network(
    manager: GlobalConnectionManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the network hides that the server closed all connections, only one request fails."""
    pool = await manager.get_connection_pool(database, FOUR)
    await pool.wait(LIMIT)
    monkeypatch.setattr(VectorConnection, "has_unread_input", lambda _: False)
    assert await asyncio.to_thread(kill_backends, database) == 4
    with pytest.raises(psycopg.OperationalError):
        await backend(pool)
    assert all([await backend(pool) for _ in range(12)])
    monkeypatch.undo()
    await assert_sound(manager, pool, database)


async def test_a_look_up_by_others_is_no_sign_of_life(
    manager: GlobalConnectionManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that got its types from another's look-up is itself checked as well."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 1, timeout=LIMIT))
    await pool.wait(LIMIT)
    monkeypatch.setattr(VectorConnection, "has_unread_input", lambda _: False)
    await asyncio.to_thread(kill_backends, database)
    types = pool.endpoint.types
    types.distrust(time.monotonic())
    assert types.join_lookup() is None
    leasing = asyncio.create_task(backend(pool))
    assert await settles(lambda: pool.idle_connections == 0)
    types.publish(types.current.rows, time.monotonic())
    assert await leasing
    monkeypatch.undo()
    await assert_sound(manager, pool, database)


async def test_outage_without_requests(
    manager: GlobalConnectionManager, own_server: EmbeddedServer
) -> None:
    """After an outage, a pool recovers to `min_size` connections even without requests."""
    pool = await manager.get_connection_pool(own_server.url, FOUR)
    await pool.wait(LIMIT)
    await asyncio.to_thread(own_server.stop)
    assert await settles(lambda: pool.idle_connections == 0)
    assert await settles(lambda: pool.get_stats().get("connections_errors", 0) >= 4)
    await asyncio.to_thread(own_server.start)
    assert await settles(lambda: pool.idle_connections == 4)
    assert await settles(lambda: backends(own_server.url) == 4)
    await assert_sound(manager, pool, own_server.url)


async def test_requests_during_an_outage(
    manager: GlobalConnectionManager, own_server: EmbeddedServer
) -> None:
    """In an outage, a lease waits until the server is back, or times out and reports the cause."""
    pool = await manager.get_connection_pool(own_server.url, FOUR)
    await pool.wait(LIMIT)
    await asyncio.to_thread(own_server.stop)
    assert await settles(lambda: pool.get_stats().get("connections_errors", 0))
    with pytest.raises(PoolExhausted, match="Connection refused"):
        await pool.getconn(timeout=1.0)
    waiting = [asyncio.create_task(backend(pool)) for _ in range(10)]
    assert await settles(lambda: pool.waiting_leases == 10)
    await asyncio.to_thread(own_server.start)
    assert all(await asyncio.gather(*waiting))
    await assert_sound(manager, pool, own_server.url)


async def test_no_connections_left_on_the_server(
    manager: GlobalConnectionManager, own_server: EmbeddedServer
) -> None:
    """If the server refuses more connections, leases take turns using the existing connection."""
    config = ConnectionPoolConfig(min_size=1, max_size=6, timeout=LIMIT)
    pool = await manager.get_connection_pool(own_server.url, config)
    await pool.wait(LIMIT)
    others = []
    with suppress(psycopg.OperationalError):
        while True:
            others.append(await psycopg.AsyncConnection.connect(own_server.url))
    pids = await asyncio.gather(*(backend(pool) for _ in range(30)))
    assert len(set(pids)) == 1
    async with pool.connection():
        with pytest.raises(PoolExhausted, match=r"too many clients|connection slots"):
            await pool.getconn(timeout=0.5)
    for other in others:
        await other.close()
    await assert_sound(manager, pool, own_server.url)


async def test_silence(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """A lease on an unresponsive server fails within its timeout, and the pool later recovers."""
    config = ConnectionPoolConfig(
        min_size=2, max_size=2, health_check_interval=0.0, connection_timeout=3 * LIMIT
    )
    with SlowProxy(server.port) as proxy:
        url = through(database, proxy, server)
        pool = await manager.get_connection_pool(url, config)
        await pool.wait(LIMIT)
        proxy.silence()
        began = time.monotonic()
        with pytest.raises(PoolExhausted):
            await pool.getconn(timeout=0.6)
        assert time.monotonic() - began < LIMIT
        proxy.resume()
        assert await settles(lambda: pool.idle_connections == 2)
        await assert_sound(manager, pool, database)


async def test_silence_ends_within_the_time_out(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """Idle connections whose server stopped responding are replaced within a lease's timeout."""
    config = ConnectionPoolConfig(
        min_size=2, max_size=2, health_check_interval=0.0, connection_timeout=2.0, timeout=LIMIT
    )
    with SlowProxy(server.port) as proxy:
        url = through(database, proxy, server)
        pool = await manager.get_connection_pool(url, config)
        await pool.wait(LIMIT)
        old = {await backend(pool), await backend(pool)}
        proxy.silence()
        asking = asyncio.create_task(backend(pool))
        assert await settles(lambda: pool.get_stats().get("connections_lost", 0) >= 1)
        proxy.resume()
        assert await asking not in old
        await assert_sound(manager, pool, database)


async def test_silence_at_the_look_up(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """If the server never answers a type look-up, the lease fails within its timeout."""
    config = ConnectionPoolConfig(
        min_size=1, max_size=1, type_cache_ttl=0.0, connection_timeout=3 * LIMIT
    )
    with SlowProxy(server.port) as proxy:
        url = through(database, proxy, server)
        pool = await manager.get_connection_pool(url, config)
        await pool.wait(LIMIT)
        proxy.silence()
        began = time.monotonic()
        with pytest.raises(PoolExhausted):
            await pool.getconn(timeout=0.5)
        assert time.monotonic() - began < LIMIT
        proxy.resume()
        await assert_sound(manager, pool, database)


async def test_cancelled_while_the_server_is_silent(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """A lease can be cancelled at once while it checks a connection to an unresponsive server."""
    config = ConnectionPoolConfig(
        min_size=1,
        max_size=1,
        health_check_interval=0.0,
        connection_timeout=3 * LIMIT,
        timeout=3 * LIMIT,
    )
    with SlowProxy(server.port) as proxy:
        url = through(database, proxy, server)
        pool = await manager.get_connection_pool(url, config)
        await pool.wait(LIMIT)
        proxy.silence()
        asking = asyncio.create_task(pool.getconn())
        assert await settles(lambda: pool.idle_connections == 0)
        began = time.monotonic()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert time.monotonic() - began < LIMIT
        proxy.resume()
        await assert_sound(manager, pool, database)


async def test_cut_connections(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """If the network resets idle connections, leases replace them without an error."""
    with SlowProxy(server.port) as proxy:
        url = through(database, proxy, server)
        pool = await manager.get_connection_pool(url, FOUR)
        await pool.wait(LIMIT)
        for _ in range(3):
            proxy.cut()
            assert all(await asyncio.gather(*(backend(pool) for _ in range(8))))
        await assert_sound(manager, pool, database)


@pytest.mark.parametrize("round_trip", [0.001, 0.005, 0.020])
async def test_slow_network(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer, round_trip: float
) -> None:
    """On a slow network, every connection in a burst of leases knows pgvector's types."""
    config = ConnectionPoolConfig(min_size=1, max_size=8, timeout=LIMIT)
    with SlowProxy(server.port, round_trip) as proxy:
        url = through(database, proxy, server)
        pool = await manager.get_connection_pool(url, config)

        async def read() -> Any:
            async with pool.connection() as connection:
                return await (await connection.execute("SELECT '[1]'::vector")).fetchone()

        began = time.monotonic()
        assert await asyncio.gather(*(read() for _ in range(24))) == [(Vector([1]),)] * 24
        assert time.monotonic() - began >= 3 * round_trip
        await assert_sound(manager, pool, database)


@pytest.mark.parametrize("kind", ["warm", "asked", "empty", "null"])
async def test_cancellation_at_every_await(
    manager: GlobalConnectionManager, database: str, kind: str
) -> None:
    """A lease can be cancelled at any await without damaging the pool."""
    config = {
        "warm": ConnectionPoolConfig(min_size=1, max_size=1),
        "asked": ConnectionPoolConfig(min_size=1, max_size=1, health_check_interval=0.0),
        "empty": ConnectionPoolConfig(min_size=0, max_size=1, recycle=0.000_001),
        "null": ConnectionPoolConfig(null_pool=True, max_size=1),
    }[kind]
    pool = await manager.get_connection_pool(database, config)
    finished = cancelled = 0

    async def use() -> None:
        async with manager.lease(database) as connection:
            await connection.execute("SELECT 1")

    for steps in range(400):
        task = asyncio.create_task(use())
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.done():
            finished += 1
            await task
            if finished == 3:
                break
            continue
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        cancelled += task.cancelled()
    assert cancelled > 3
    await assert_sound(manager, pool, database)


async def test_extension_dropped_under_load(
    manager: GlobalConnectionManager, database: str
) -> None:
    """If the extension is recreated under load, leases keep working and reads soon recover."""
    config = ConnectionPoolConfig(min_size=4, max_size=4, type_cache_ttl=0.05, timeout=LIMIT)
    pool = await manager.get_connection_pool(database, config)
    stop = asyncio.Event()
    reads: list[object] = []

    async def work() -> None:
        while not stop.is_set():
            with suppress(psycopg.errors.UndefinedObject, psycopg.errors.InternalError_):
                async with pool.connection() as connection:
                    row = await (await connection.execute("SELECT '[1]'::vector")).fetchone()
                    reads.append(row[0])

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for _ in range(5):
        await asyncio.to_thread(run, database, "DROP EXTENSION vector", "CREATE EXTENSION vector")
        await asyncio.sleep(0.05)
    assert await settles(lambda: len(reads) > 20 and all(r == Vector([1]) for r in reads[-20:]))
    stop.set()
    await asyncio.gather(*workers)
    await assert_sound(manager, pool, database)


async def test_silence_at_the_health_check(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """A lease's timeout also covers the health check of its shared pool."""
    config = ConnectionPoolConfig(
        min_size=1, max_size=2, health_check_interval=0.0, connection_timeout=3 * LIMIT
    )
    with SlowProxy(server.port) as proxy:
        url = through(database, proxy, server)
        pool = await manager.get_connection_pool(url, config)
        await pool.wait(LIMIT)
        proxy.silence()
        began = time.monotonic()
        with pytest.raises(PoolExhausted):
            await manager.lease(url, timeout=0.5).__aenter__()
        assert time.monotonic() - began < LIMIT
        proxy.resume()
        await assert_sound(manager, pool, database)


async def test_silence_of_a_null_pool(
    manager: GlobalConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """Leases from a null pool time out on an unresponsive server, and the pool later recovers."""
    config = ConnectionPoolConfig(null_pool=True, max_size=8, connection_timeout=3 * LIMIT)
    with SlowProxy(server.port) as proxy:
        url = through(database, proxy, server)
        pool = await manager.get_connection_pool(url, config)
        proxy.silence()
        began = time.monotonic()
        outcomes = await asyncio.gather(
            *(pool.getconn(timeout=0.5) for _ in range(12)), return_exceptions=True
        )
        assert time.monotonic() - began < LIMIT
        assert all(isinstance(outcome, PoolExhausted) for outcome in outcomes)
        proxy.resume()
        assert all(await asyncio.gather(*(backend(pool) for _ in range(12))))
        await assert_sound(manager, pool, database)
