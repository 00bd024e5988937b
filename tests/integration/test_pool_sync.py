"""Tests that synchronous pools behave like asynchronous pools, without an event loop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from pgvector import Vector
from pool_checks import LIMIT, backends, kill_backends, run, settles_here
from slow_proxy import SlowProxy

from nanospan import get_performance_monitor
from nanospan.demo.database import EmbeddedServer
from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    PoolExhausted,
    PoolOpenError,
    PoolOverloaded,
    SyncConnectionManager,
    get_sync_connection_manager,
)

if TYPE_CHECKING:
    from nanospan.pool.sync_vector_pool import SyncVectorPool

TWO = ConnectionPoolConfig(min_size=2, max_size=2, timeout=LIMIT)


class Store:
    """An object that uses a pool, passed as `store_ref`."""


def backend(pool: SyncVectorPool) -> int:
    """Lease a connection, and return the process ID of its backend."""
    with pool.connection() as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        return int(row[0])


def assert_sound(manager: SyncConnectionManager, pool: SyncVectorPool, url: str) -> None:
    """Assert that the pool works and, after it is closed, leaves no connection and no thread."""
    assert backend(pool) > 0
    assert len(pool.leases) == 0
    assert settles_here(
        lambda: pool.idle_connections == pool.get_stats()["pool_size"] == backends(url)
    )
    assert manager.close_all_pools()
    assert settles_here(lambda: backends(url) == 0)
    assert not [thread for thread in threading.enumerate() if pool.name in thread.name]


def test_singleton(sync_manager: SyncConnectionManager, database: str) -> None:
    """Callers in all threads get the same manager and the same pool."""
    with ThreadPoolExecutor(8) as threads:
        managers = list(threads.map(lambda _: get_sync_connection_manager(), range(8)))
        pools = list(threads.map(lambda m: m.get_connection_pool(database, TWO), managers))
    assert set(map(id, managers)) == {id(sync_manager)}
    assert len(set(map(id, pools))) == 1
    assert len(sync_manager.get_pool_statistics()) == 1


def test_leases(sync_manager: SyncConnectionManager, database: str) -> None:
    """A lease knows pgvector's types, is timed, and commits or rolls back its transaction."""
    monitor = get_performance_monitor()
    monitor.clear_metrics("connection_lease")
    run(database, "CREATE TABLE t (v vector)")
    with sync_manager.lease(database, "write", config=TWO) as connection:
        connection.execute("INSERT INTO t VALUES (%s)", [Vector([1, 2])])

    def fail() -> None:
        with sync_manager.lease(database) as connection:
            connection.execute("DELETE FROM t")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    with sync_manager.lease(database) as connection:
        assert connection.execute("SELECT v FROM t").fetchall() == [(Vector([1, 2]),)]
    stats = monitor.get_stats("connection_lease")
    assert stats is not None
    assert (stats.count, stats.error_count) == (3, 1)


def test_exhaustion(sync_manager: SyncConnectionManager, database: str) -> None:
    """An exhausted pool's error names the threads that hold leases; `max_waiting` is enforced."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, timeout=0.1, max_waiting=1)
    with sync_manager.lease(database, "mine", config=config, timeout=LIMIT):
        with pytest.raises(PoolExhausted, match="'mine', thread 'MainThread'") as caught:
            sync_manager.get_connection_pool(database).getconn()
        assert caught.value.waiting == 0
        with ThreadPoolExecutor(1) as threads:
            pool = sync_manager.get_connection_pool(database)
            waiting = threads.submit(pool.getconn, LIMIT)
            assert settles_here(lambda: pool.waiting_leases == 1)
            with pytest.raises(PoolOverloaded):
                pool.getconn(LIMIT)
            pool.close()
            with pytest.raises(psycopg.OperationalError, match="closed"):
                waiting.result(LIMIT)


def test_leaks(
    sync_manager: SyncConnectionManager, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A lease held longer than `leak_after` is logged once."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, leak_after=0.1)

    def reports() -> list[str]:
        return [r.getMessage() for r in caplog.records if "held for more" in r.getMessage()]

    with caplog.at_level(logging.WARNING), sync_manager.lease(database, "lost", config=config):
        assert settles_here(reports)
        time.sleep(0.3)
    assert len(reports()) == 1
    assert "'lost', thread 'MainThread'" in reports()[0]


def test_users_and_closing(sync_manager: SyncConnectionManager, database: str) -> None:
    """A pool can be closed only when it has no users left."""
    store = Store()
    pool = sync_manager.get_connection_pool(database, TWO, store)
    assert not sync_manager.close_pool(database)
    assert not sync_manager.close_all_pools()
    del store
    gc.collect()
    assert sync_manager.close_pool(database)
    assert pool.closed
    assert not sync_manager.is_pool_healthy(pool, database)
    again = sync_manager.get_connection_pool(database, TWO)
    assert again is not pool
    assert sync_manager.is_pool_healthy(again, database)
    assert_sound(sync_manager, again, database)


def test_warm_up_and_resize(sync_manager: SyncConnectionManager, database: str) -> None:
    """Warm-up opens `min_size` connections and reports failures; an open pool can be resized."""
    dead = "postgresql://u:S3cr3tM4rk@127.0.0.1:1/d"
    ready, failed = sync_manager.warmup_common_pools([database, dead], TWO)
    assert ready.connections == 2
    assert isinstance(failed.error, PoolOpenError)
    assert "S3cr3tM4rk" not in repr(failed)
    pool = sync_manager.get_connection_pool(database)
    assert sync_manager.resize_pool(database, 4, 4)
    pool.wait(LIMIT)
    assert pool.idle_connections == 4
    assert sync_manager.resize_pool(database, 1, 1)
    assert pool.idle_connections == 1
    with pytest.raises(PoolOpenError):
        sync_manager.warmup_common_pools([dead], strict=True)
    assert_sound(sync_manager, pool, database)


def test_killed_backends(sync_manager: SyncConnectionManager, database: str) -> None:
    """If the server terminates all idle connections, no lease fails."""
    sync_manager.warmup_common_pools([database], TWO, strict=True)
    pool = sync_manager.get_connection_pool(database)
    for _ in range(3):
        pool.wait(LIMIT)
        assert kill_backends(database) >= 1
        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(lambda _: backend(pool), range(12)))
    assert_sound(sync_manager, pool, database)


def test_outage_without_requests(sync_manager: SyncConnectionManager) -> None:
    """After an outage, a pool recovers to `min_size` connections even without requests."""
    with EmbeddedServer(settings={"listen_addresses": "127.0.0.1"}) as own:
        pool = sync_manager.get_connection_pool(own.url, TWO)
        pool.wait(LIMIT)
        own.stop()
        assert settles_here(lambda: pool.idle_connections == 0)
        assert settles_here(lambda: pool.get_stats().get("connections_errors", 0))
        with pytest.raises(PoolExhausted, match="Connection refused"):
            pool.getconn(timeout=0.5)
        with pytest.raises(PoolOpenError, match="Connection refused"):
            sync_manager.get_connection_pool(own.url)
        own.start()
        assert settles_here(lambda: pool.idle_connections == 2)
        assert sync_manager.get_connection_pool(own.url) is pool
        assert_sound(sync_manager, pool, own.url)


def test_silence(
    sync_manager: SyncConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """A lease on an unresponsive server fails within its timeout."""
    config = ConnectionPoolConfig(
        min_size=1, max_size=1, health_check_interval=0.0, connection_timeout=3 * LIMIT
    )
    with SlowProxy(server.port) as proxy:
        url = database.replace(f":{server.port}/", f":{proxy.port}/")
        pool = sync_manager.get_connection_pool(url, config)
        pool.wait(LIMIT)
        proxy.silence()
        began = time.monotonic()
        with pytest.raises(PoolExhausted):
            pool.getconn(timeout=0.5)
        assert time.monotonic() - began < LIMIT
        proxy.resume()
        assert settles_here(lambda: pool.idle_connections == 1)
        assert_sound(sync_manager, pool, database)


def test_silence_at_the_health_check(
    sync_manager: SyncConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """The timeouts of leases cover the health check of their pool, even if they share one check."""
    config = ConnectionPoolConfig(
        min_size=1, max_size=1, health_check_interval=0.0, connection_timeout=LIMIT
    )
    with SlowProxy(server.port) as proxy:
        url = database.replace(f":{server.port}/", f":{proxy.port}/")
        pool = sync_manager.get_connection_pool(url, config)
        pool.wait(LIMIT)
        proxy.silence()

        def ask(_: int) -> float:
            began = time.monotonic()
            with pytest.raises(PoolExhausted), sync_manager.lease(url, timeout=0.5):
                pass
            return time.monotonic() - began

        with ThreadPoolExecutor(3) as threads:
            assert max(threads.map(ask, range(3))) < LIMIT / 3
        proxy.resume()
        with sync_manager.lease(url, timeout=LIMIT) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert_sound(sync_manager, pool, database)


def test_a_lease_outlasts_an_outage(sync_manager: SyncConnectionManager) -> None:
    """A lease from an open pool waits for the end of an outage."""
    with EmbeddedServer(settings={"listen_addresses": "127.0.0.1"}) as own:
        pool = sync_manager.get_connection_pool(own.url, TWO)
        pool.wait(LIMIT)
        own.stop()
        assert settles_here(lambda: pool.idle_connections == 0)

        def ask() -> object:
            with sync_manager.lease(own.url, timeout=LIMIT) as connection:
                return connection.execute("SELECT 1").fetchone()

        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(ask)
            assert settles_here(lambda: answer.done() or pool.waiting_leases == 1)
            own.start()
            assert answer.result() == (1,)
        assert_sound(sync_manager, pool, own.url)


def test_recycle(sync_manager: SyncConnectionManager, database: str) -> None:
    """A connection older than `recycle` is never leased again."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, recycle=0.2)
    pool = sync_manager.get_connection_pool(database, config)
    first = backend(pool)
    time.sleep(0.3)
    assert backend(pool) != first


def test_recreated_extension(sync_manager: SyncConnectionManager, database: str) -> None:
    """A pool notices changed types after a refused write, or once `type_cache_ttl` has passed."""
    config = ConnectionPoolConfig(min_size=1, max_size=2, type_cache_ttl=300.0)
    with sync_manager.lease(database, config=config) as connection:
        connection.execute("SELECT '[1]'::vector")
    run(database, "DROP EXTENSION vector", "CREATE EXTENSION vector")
    with (
        pytest.raises(psycopg.errors.InternalError_),
        sync_manager.lease(database) as connection,
    ):
        connection.execute("SELECT %s::text", [Vector([1])])
    with sync_manager.lease(database) as connection:
        assert connection.execute("SELECT %s", [Vector([1])]).fetchone() == (Vector([1]),)

    brief = ConnectionPoolConfig(min_size=1, max_size=1, type_cache_ttl=0.05)
    other = f"{database}{'&' if '?' in database else '?'}application_name=brief"
    sync_manager.get_connection_pool(other, brief).wait(LIMIT)
    run(database, "DROP EXTENSION vector", "CREATE EXTENSION vector")
    time.sleep(0.1)
    with sync_manager.lease(other) as connection:
        assert connection.execute("SELECT '[1]'::vector").fetchone() == (Vector([1]),)


def test_null_pools(sync_manager: SyncConnectionManager, database: str) -> None:
    """A null pool opens a connection that knows pgvector's types for each lease, then closes it."""
    config = ConnectionPoolConfig(null_pool=True, max_size=2)
    for _ in range(3):
        with sync_manager.lease(database, config=config) as connection:
            assert connection.execute("SELECT '[1]'::vector").fetchone() == (Vector([1]),)
    pool = sync_manager.get_connection_pool(database)
    with pool.connection(), pool.connection(), pytest.raises(PoolExhausted):
        pool.getconn(timeout=0.1)
    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(lambda _: backend(pool), range(12)))
    assert settles_here(lambda: backends(database) == 0)
    assert pool.get_stats()["pool_size"] == 0


async def test_statistics_are_common(
    manager: GlobalConnectionManager, sync_manager: SyncConnectionManager, database: str
) -> None:
    """Each manager reports the pools of both managers, but closes only its own pools."""
    await manager.get_connection_pool(database, TWO)
    await asyncio.to_thread(sync_manager.get_connection_pool, database, TWO)
    statistics = manager.get_pool_statistics()
    assert statistics.keys() == sync_manager.get_pool_statistics().keys()
    assert [one["kind"] for one in statistics.values()] == ["async", "sync"]
    assert await manager.close_all_pools()
    assert [one["kind"] for one in manager.get_pool_statistics().values()] == ["sync"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is not available")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork(sync_manager: SyncConnectionManager, database: str) -> None:
    """A forked child opens a new pool, and can safely leave a lease that its parent took."""
    pool = sync_manager.get_connection_pool(database, ConnectionPoolConfig(1, 1))
    with pool.connection() as connection:
        ours = connection.info.backend_pid
        connection.execute("CREATE TEMP TABLE mine AS SELECT 1")
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            assert status == 0
            assert connection.execute("SELECT count(*) FROM mine").fetchone() == (1,)
    if not child:
        status = 1
        try:
            # At this point, the child has already left the block of its parent's lease.
            assert pool.closed
            assert sync_manager.get_pool_statistics() == {}
            assert backend(sync_manager.get_connection_pool(database, TWO)) != ours
            status = 0
        finally:
            os._exit(status)
    assert backend(pool) == ours


@pytest.mark.parametrize("kind", ["sync", "async", "async, closed at exit"])
def test_interpreter_exit(database: str, kind: str) -> None:
    """A program that leaves its pools open exits at once and prints nothing."""
    code = {
        "sync": """
from nanospan.pool import get_sync_connection_manager
with get_sync_connection_manager().lease(URL) as connection:
    connection.execute("SELECT 1")
""",
        "async": """
import asyncio
from nanospan.pool import get_global_connection_manager
async def main():
    async with get_global_connection_manager().lease(URL) as connection:
        await connection.execute("SELECT 1")
asyncio.run(main())
""",
        "async, closed at exit": """
import asyncio, atexit
from nanospan.pool import get_global_connection_manager
manager = get_global_connection_manager()
async def main():
    async with manager.lease(URL) as connection:
        await connection.execute("SELECT 1")
atexit.register(lambda: print(asyncio.run(manager.close_all_pools())))
asyncio.run(main())
""",
    }[kind]
    # In development mode, asyncio reports every step that takes longer than 0.1 s.
    fast_enough = """
import logging
logging.getLogger("asyncio").addFilter(lambda r: not r.getMessage().startswith("Executing "))
"""
    code = fast_enough + code.replace("URL", repr(database))
    finished = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    assert finished.stderr == ""
    assert finished.stdout == ("True\n" if "closed" in kind else "")
    assert settles_here(lambda: backends(database) == 0)


def test_null_pools_connect_side_by_side(
    sync_manager: SyncConnectionManager, database: str, server: EmbeddedServer
) -> None:
    """Leases from a null pool connect concurrently, even to an unresponsive server."""
    config = ConnectionPoolConfig(null_pool=True, max_size=6)
    with SlowProxy(server.port) as proxy:
        url = database.replace(f":{server.port}/", f":{proxy.port}/")
        pool = sync_manager.get_connection_pool(url, config)
        proxy.silence()

        def ask(_: int) -> float:
            began = time.monotonic()
            with pytest.raises(PoolExhausted):
                pool.getconn(timeout=1.0)
            return time.monotonic() - began

        with ThreadPoolExecutor(6) as threads:
            # psycopg waits at least 2 s per attempt, so sequential attempts would take 12 s.
            assert max(threads.map(ask, range(6))) < 10.0
        proxy.resume()
        with ThreadPoolExecutor(6) as threads:
            assert all(threads.map(lambda _: backend(pool), range(12)))
        assert settles_here(lambda: backends(database) == 0)
        assert pool.get_stats()["pool_size"] == 0


def test_a_lease_beside_a_health_check(sync_manager: SyncConnectionManager, database: str) -> None:
    """If another lease is checking the only idle connection, a lease gets a new connection."""
    config = ConnectionPoolConfig(min_size=1, max_size=2, health_check_interval=0.0)
    pool = sync_manager.get_connection_pool(database, config)
    for _ in range(20):
        pool.wait(LIMIT)
        both = threading.Barrier(2, timeout=LIMIT)

        def hold(_: int, both: threading.Barrier = both) -> None:
            with pool.connection():
                both.wait()  # waits until the other lease also has a connection

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(hold, range(2)))
    assert_sound(sync_manager, pool, database)
