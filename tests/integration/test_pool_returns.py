"""Tests that returning connections, and asking those that are idle, delays no other lease."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pool_checks import LIMIT, backend, backends, run, settles, settles_here
from psycopg_pool import PoolClosed, PoolTimeout
from slow_proxy import SlowProxy

from nanospan.pool import (
    SyncVectorNullPool,
    SyncVectorPool,
    VectorNullPool,
    VectorPool,
)
from nanospan.pool.threads import WaitingThread

if TYPE_CHECKING:
    from nanospan.demo.database import EmbeddedServer


def through(database: str, proxy: SlowProxy, server: EmbeddedServer) -> str:
    """Return the database's URL with the server's port replaced by the proxy's port."""
    return database.replace(f":{server.port}/", f":{proxy.port}/")


async def test_returning_in_a_transaction(database: str, server: EmbeddedServer) -> None:
    """A waiting lease gets a connection returned in a transaction, though no worker is free."""
    urls = [database]
    with SlowProxy(server.port) as proxy:
        async with VectorPool(lambda: urls[-1], min_size=1, max_size=9, num_workers=2) as pool:
            first = await pool.getconn()
            await first.execute("SELECT 1")
            proxy.silence()
            urls.append(through(database, proxy, server))
            waiting = [asyncio.create_task(pool.getconn(LIMIT)) for _ in range(8)]
            await asyncio.sleep(0.05)  # the workers begin to connect to a server that is silent
            await pool.putconn(first)
            done, rest = await asyncio.wait(
                waiting, timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED
            )
            assert [await task for task in done] == [first]
            assert pool.get_stats().get("connections_errors", 0) == 0  # none has timed out yet
            for task in rest:
                task.cancel()
            await asyncio.wait(rest)
            await pool.putconn(first)


def test_returning_in_a_transaction_from_threads(database: str, server: EmbeddedServer) -> None:
    """The same holds in a synchronous pool, also if the session is reset."""
    urls = [database]
    with SlowProxy(server.port) as proxy, ThreadPoolExecutor(3) as threads:
        pool = SyncVectorPool(
            lambda: urls[-1],
            min_size=1,
            max_size=9,
            num_workers=2,
            reset="discard",
            open=True,
        )
        first = pool.getconn()
        first.execute("SELECT 1")
        proxy.silence()
        urls.append(through(database, proxy, server))
        waiting = [threads.submit(pool.getconn, LIMIT) for _ in range(3)]
        assert settles_here(lambda: pool.waiting_leases == 3)
        pool.putconn(first)
        assert settles_here(lambda: any(each.done() for each in waiting))
        assert pool.get_stats().get("connections_errors", 0) == 0
        pool.putconn(first)
        proxy.resume()
        for each in waiting:
            if (leased := each.result(LIMIT)) is not first:
                pool.putconn(leased)
        pool.close()


async def test_returning_twice(database: str) -> None:
    """Returning a connection again is a ValueError in every state of the connection."""
    async with VectorPool(database, min_size=1) as pool:
        for state in ("idle", "in a transaction", "closed"):
            connection = await pool.getconn()
            if state == "in a transaction":
                await connection.execute("SELECT 1")
            elif state == "closed":
                await connection.close()
            await pool.putconn(connection)
            with pytest.raises(ValueError, match="can't return connection"):
                await pool.putconn(connection)
        assert await backend(pool)
        await pool.wait(LIMIT)
        assert pool.get_stats()["pool_size"] == 1


def test_returning_twice_from_a_thread(database: str) -> None:
    """The same holds in a synchronous pool."""
    with SyncVectorPool(database, min_size=1, open=True) as pool:
        for state in ("idle", "in a transaction", "closed"):
            connection = pool.getconn()
            if state == "in a transaction":
                connection.execute("SELECT 1")
            elif state == "closed":
                connection.close()
            pool.putconn(connection)
            with pytest.raises(ValueError, match="can't return connection"):
                pool.putconn(connection)


async def test_growth_while_connections_are_asked(database: str, server: EmbeddedServer) -> None:
    """While idle connections are asked and do not answer, other leases get new ones at once."""
    urls = []
    with SlowProxy(server.port) as proxy:
        urls.append(through(database, proxy, server))
        async with VectorPool(
            lambda: urls[-1], min_size=3, max_size=9, health_check_interval=0.0
        ) as pool:
            await pool.wait(LIMIT)
            proxy.silence()
            urls.append(database)
            asking = [asyncio.create_task(pool.getconn(LIMIT)) for _ in range(3)]
            await asyncio.sleep(0)
            assert pool.idle_connections == 0
            found = await asyncio.gather(*(pool.getconn(LIMIT) for _ in range(3)))
            assert not [task for task in asking if task.done()]
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)
            for connection in found:
                await pool.putconn(connection)


async def test_growth_while_a_connection_is_cleaned(database: str) -> None:
    """A lease that begins right after a return gets a new connection while the other is reset."""

    async def reset(_: object) -> None:
        await asyncio.sleep(LIMIT)

    async with VectorPool(database, min_size=1, max_size=2, reset=reset) as pool:
        first = await pool.getconn()
        await pool.putconn(first)
        second = await asyncio.wait_for(pool.getconn(), LIMIT / 2)
        assert second is not first


async def test_a_reset_without_end(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """A reset function that waits for something else than the server has a time limit as well."""

    async def reset(_: object) -> None:
        await asyncio.sleep(2 * LIMIT)

    async with VectorPool(database, min_size=1, reset=reset, connection_timeout=1.0) as pool:
        first = await pool.getconn()
        await pool.putconn(first)
        assert await asyncio.wait_for(pool.getconn(), LIMIT) is not first
        assert "discarding closed connection" in caplog.text


async def test_draining_while_connections_are_asked(database: str) -> None:
    """`drain` also replaces an idle connection that is just being asked."""
    async with VectorPool(database, min_size=1) as pool:
        await pool.wait(LIMIT)
        before = await backend(pool)
        checking = asyncio.create_task(pool.check())
        await asyncio.sleep(0)
        await pool.drain()
        await checking
        assert await backend(pool) != before


async def test_check_of_a_silent_server(database: str, server: EmbeddedServer) -> None:
    """`check` has a time limit for a server that does not answer, and delays no lease."""
    urls = []
    with SlowProxy(server.port) as proxy:
        urls.append(through(database, proxy, server))
        async with VectorPool(
            lambda: urls[-1], min_size=2, max_size=4, connection_timeout=1.0
        ) as pool:
            await pool.wait(LIMIT)
            proxy.silence()
            urls.append(database)
            checking = asyncio.create_task(pool.check())
            await asyncio.sleep(0)
            assert pool.idle_connections == 1
            await asyncio.wait_for(checking, LIMIT)
            await pool.wait(LIMIT)
            assert await backend(pool)
            assert pool.get_stats()["connections_lost"] >= 1


def test_check_of_a_silent_server_from_a_thread(database: str, server: EmbeddedServer) -> None:
    """The same holds in a synchronous pool."""
    urls = []
    with SlowProxy(server.port) as proxy:
        urls.append(through(database, proxy, server))
        with SyncVectorPool(
            lambda: urls[-1], min_size=2, max_size=4, connection_timeout=1.0, open=True
        ) as pool:
            pool.wait(LIMIT)
            proxy.silence()
            urls.append(database)
            pool.check()
            pool.wait(LIMIT)
            with pool.connection() as connection:
                connection.execute("SELECT 1")


def test_interrupting_a_lease(database: str) -> None:
    """A connection that is returned after Ctrl-C has ended the wait for it is not lost."""
    main = threading.main_thread().ident
    assert main == threading.get_ident()
    assert main is not None
    with SyncVectorPool(database, min_size=1, max_size=1, open=True) as pool:
        leased = pool.getconn()

        def interrupt() -> None:
            assert settles_here(lambda: pool.waiting_leases == 1)
            signal.pthread_kill(main, signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            pool.getconn(LIMIT)
        interrupting.join()
        assert pool.waiting_leases == 0
        pool.putconn(leased)
        assert pool.idle_connections == 1


def test_a_connection_that_arrives_too_late(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is handed to a lease at the moment its time ends goes to the next."""
    wait = WaitingThread.wait

    def wait_too_long(client: WaitingThread[Any], timeout: float) -> Any:
        if wait(client, timeout):
            raise PoolTimeout  # as if both happened at once

    with SyncVectorPool(database, min_size=0, max_size=1, reset=fail, open=True) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(WaitingThread, "wait", wait_too_long)
            with pytest.raises(PoolTimeout):
                pool.getconn(LIMIT)
        assert settles_here(lambda: pool.idle_connections)


def fail(connection: object) -> None:
    raise LookupError(connection)


def test_shrinking_a_busy_null_pool(database: str) -> None:
    """A null pool closes connections over its new `max_size` though leases wait for them."""
    with SyncVectorNullPool(database, max_size=2, open=True) as pool, ThreadPoolExecutor(2) as more:
        leased = [pool.getconn(), pool.getconn()]
        waiting = [more.submit(pool.getconn, LIMIT) for _ in range(2)]
        assert settles_here(lambda: pool.waiting_leases == 2)
        pool.resize(0, 1)
        pool.putconn(leased[0])
        assert (pool.get_stats()["pool_size"], pool.waiting_leases) == (1, 2)
        pool.putconn(leased[1])
        for each in waiting:
            assert settles_here(lambda: any(each.done() for each in waiting))
            if each.done():
                pool.putconn(each.result())
        for each in waiting:
            each.cancel()


async def test_wait_counts_idle_connections(database: str) -> None:
    """`wait` ends once `min_size` connections are idle; those that are leased do not count."""
    async with VectorPool(database, min_size=1, max_size=1) as pool:
        async with pool.connection():
            waiting = asyncio.create_task(pool.wait(LIMIT))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await pool.fill(LIMIT)
        await waiting


@pytest.mark.parametrize("kind", [VectorPool, VectorNullPool])
async def test_wait_on_a_closed_pool(database: str, kind: type[Any]) -> None:
    """`wait` raises PoolClosed on every pool that is closed or not open yet."""
    pool = kind(database, min_size=0, max_size=1, open=False)
    with pytest.raises(PoolClosed):
        await pool.wait()
    async with pool:
        pass
    with pytest.raises(PoolClosed):
        await pool.wait()


@pytest.mark.parametrize("kind", [SyncVectorPool, SyncVectorNullPool])
def test_wait_on_a_closed_synchronous_pool(database: str, kind: type[Any]) -> None:
    """The same holds in a synchronous pool."""
    pool = kind(database, min_size=0, max_size=1, open=False)
    with pytest.raises(PoolClosed):
        pool.wait()
    with pool:
        pass
    with pytest.raises(PoolClosed):
        pool.wait()


async def test_wait_of_a_null_pool(database: str) -> None:
    """`wait` of a null pool connects once, or raises an error that says why it cannot."""
    async with VectorNullPool(database) as pool:
        await pool.wait(LIMIT)
        assert pool.get_stats()["connections_num"] == 1
        assert pool.get_stats()["pool_size"] == 0
    assert await settles(lambda: backends(database) == 0)
    async with VectorNullPool("host=127.0.0.1 port=1") as pool:
        with pytest.raises(psycopg.OperationalError, match="refused"):
            await pool.wait(0.1)


def test_wait_of_a_synchronous_null_pool(database: str, server: EmbeddedServer) -> None:
    """The same holds in a synchronous pool, and a silent server does not block longer."""
    with SyncVectorNullPool(database, open=True) as pool:
        pool.wait(LIMIT)
        assert pool.get_stats()["connections_num"] == 1
    with SlowProxy(server.port) as proxy:
        proxy.silence()
        pool = SyncVectorNullPool(through(database, proxy, server), open=True)
        with pytest.raises(psycopg.OperationalError, match="within"):
            pool.wait(0.1)
        pool.close()


def test_an_impatient_wait_of_a_null_pool() -> None:
    """`wait` never reports a server that is down as reachable, however short it waits."""
    with SyncVectorNullPool("host=127.0.0.1 port=1", open=True) as pool:
        for _ in range(20):
            with pytest.raises(psycopg.OperationalError, match="within"):
                pool.wait(0.0)


async def test_a_null_pool_does_not_connect_for_nobody(database: str) -> None:
    """After a lease has broken its connection, a null pool does not open another."""
    async with VectorNullPool(database, max_size=2) as pool:
        with suppress(psycopg.OperationalError):
            async with pool.connection() as connection:
                run(database, f"SELECT pg_terminate_backend({connection.info.backend_pid}, 10000)")
                await connection.execute("SELECT 1")
        await asyncio.sleep(0.05)
        assert pool.get_stats()["connections_num"] == 1
        assert pool.get_stats()["pool_size"] == 0
        assert pool.get_stats()["returns_bad"] == 1


async def test_unlimited_null_pools(database: str) -> None:
    """`max_size=0` sets no limit to a null pool."""
    async with VectorNullPool(database) as pool:
        assert (pool.min_size, pool.max_size) == (0, 0)
        leased = await asyncio.gather(*(pool.getconn() for _ in range(12)))
        assert len({each.info.backend_pid for each in leased}) == 12
        for each in leased:
            await pool.putconn(each)
    with SyncVectorNullPool(database, open=True) as synchronous, synchronous.connection() as one:
        assert one.execute("SELECT 1").fetchone() == (1,)


async def test_closing_before_the_loop_turns(database: str) -> None:
    """A pool that is closed at once leaves no coroutine that was never awaited."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        pool = VectorPool(database, open=False)
        await pool.open()
        await pool.close()
    assert not [str(each.message) for each in found]


async def test_closing_while_a_connection_is_cleaned(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that is being cleaned is closed with the pool."""
    started = threading.Event()

    async def reset(_: psycopg.AsyncConnection[Any]) -> None:
        started.set()
        await asyncio.sleep(LIMIT)

    caplog.set_level(logging.CRITICAL)
    async with VectorPool(database, min_size=1, reset=reset) as pool:
        async with pool.connection() as connection:
            pass
        assert await settles(started.is_set)
    assert connection.closed
    assert await settles(lambda: backends(database) == 0)
