"""Tests for the asynchronous manager, including several event loops and forked processes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from typing import Any

import pytest
from pool_checks import LIMIT, assert_sound, backend, backends, settles
from psycopg.conninfo import conninfo_to_dict

from nanospan import get_performance_monitor
from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    get_global_connection_manager,
    reset_global_connection_pools,
    warmup_global_connection_pools,
)

SMALL = ConnectionPoolConfig(min_size=1, max_size=2)


class Store:
    """An object that uses a pool, passed as `store_ref`."""


async def test_singleton(manager: GlobalConnectionManager, database: str) -> None:
    """Calling the manager's constructor again returns the same instance and keeps its pools."""
    pool = await manager.get_connection_pool(database, SMALL)
    assert GlobalConnectionManager() is GlobalConnectionManager.get_instance() is manager
    assert get_global_connection_manager() is manager
    assert not pool.closed
    assert await manager.get_connection_pool(database) is pool


async def test_singleton_across_threads() -> None:
    """Threads that construct the manager concurrently get the same instance."""
    found: list[GlobalConnectionManager] = []
    threads = [
        threading.Thread(target=lambda: found.append(GlobalConnectionManager())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


async def test_spellings_share_a_pool(manager: GlobalConnectionManager, database: str) -> None:
    """Equivalent connection strings share a pool, even if one is a URL or spells out defaults."""
    pool = await manager.get_connection_pool(database, SMALL)
    parameters = conninfo_to_dict(database)
    pairs = " ".join(f"{name}={value}" for name, value in reversed(parameters.items()))
    assert await manager.get_connection_pool(pairs) is pool
    default = "sslmode=prefer"
    assert await manager.get_connection_pool(f"{pairs} {default}") is pool
    other = await manager.get_connection_pool(f"{pairs} application_name=other", SMALL)
    assert other is not pool


async def test_concurrent_first_callers(manager: GlobalConnectionManager, database: str) -> None:
    """Callers that open the same pool concurrently share it, even if one of them is cancelled."""
    calls = [asyncio.create_task(manager.get_connection_pool(database, SMALL)) for _ in range(5)]
    await asyncio.sleep(0)
    calls[0].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    pools = outcomes[1:]
    assert len(set(map(id, pools))) == 1
    await backend(pools[0])
    assert len(manager.get_pool_statistics()) == 1


async def test_cancelled_opening_leaves_a_usable_manager(
    manager: GlobalConnectionManager, database: str
) -> None:
    """If every caller that waits for a pool is cancelled, the next caller gets a usable pool."""
    call = asyncio.create_task(manager.get_connection_pool(database, SMALL))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await backend(await manager.get_connection_pool(database, SMALL)) > 0


async def test_access_is_tracked(manager: GlobalConnectionManager, database: str) -> None:
    """Calls record `connection_pool_access`; the type look-up records `pgvector_registration`."""
    monitor = get_performance_monitor()
    for operation in ("connection_pool_access", "pgvector_registration"):
        monitor.clear_metrics(operation)
    for _ in range(3):
        await manager.get_connection_pool(database, SMALL)
    access = monitor.get_stats("connection_pool_access")
    assert access is not None
    assert access.count == 3
    registration = monitor.get_stats("pgvector_registration")
    assert registration is not None
    assert registration.count == 1
    assert monitor.thresholds["pgvector_registration"] == 0.050


async def test_statistics(manager: GlobalConnectionManager, database: str) -> None:
    """The statistics of a new pool already contain its settings, user count and every counter."""
    store = Store()
    pool = await manager.get_connection_pool(database, SMALL, store)
    await manager.get_connection_pool(database, SMALL, store)
    (statistics,) = manager.get_pool_statistics().values()
    expected = {
        "min_size": 1,
        "max_size": 2,
        "timeout": 30.0,
        "recycle": 3600.0,
        "active_references": 1,
        "pool_closed": False,
        "requests_num": 0,
        "requests_errors": 0,
        "connections_lost": 0,
    }
    assert expected.items() <= statistics.items()
    assert all(value is not None for value in statistics.values())
    await backend(pool)
    (statistics,) = manager.get_pool_statistics().values()
    assert statistics["requests_num"] == 1
    await pool.close()
    (statistics,) = manager.get_pool_statistics().values()
    assert statistics["pool_closed"] is True


async def test_statistics_of_look_alikes(manager: GlobalConnectionManager, database: str) -> None:
    """URLs that differ only in the password have separate pools, both shown in the statistics."""
    for password in ("marker-one", "marker-two"):
        separator = "&" if "?" in database else "?"
        await manager.get_connection_pool(f"{database}{separator}password={password}", SMALL)
    statistics = manager.get_pool_statistics()
    assert len(statistics) == 2
    assert "marker" not in repr(statistics)


async def test_users_keep_a_pool_open(manager: GlobalConnectionManager, database: str) -> None:
    """A pool is closed only if it has no users left, or with `force`."""
    store = Store()
    pool = await manager.get_connection_pool(database, SMALL, store)
    assert not await manager.close_pool(database)
    assert not await manager.close_all_pools()
    assert not pool.closed
    del store
    gc.collect()
    assert await manager.close_pool(database)
    assert pool.closed
    assert manager.get_pool_statistics() == {}

    store = Store()
    again = await manager.get_connection_pool(database, SMALL, store)
    assert again is not pool
    assert await manager.close_pool(database, force=True)
    assert again.closed


async def test_closing_the_unknown(manager: GlobalConnectionManager, database: str) -> None:
    """Closing a pool that does not exist succeeds."""
    assert await manager.close_pool(database)


async def test_reset(manager: GlobalConnectionManager, database: str) -> None:
    """A reset closes all pools, even those in use or being opened, and allows opening new pools."""
    store = Store()
    pool = await manager.get_connection_pool(database, SMALL, store)
    opening = asyncio.create_task(manager.get_connection_pool(f"{database}?application_name=b"))
    await asyncio.sleep(0)
    await reset_global_connection_pools()
    assert pool.closed
    assert (await opening).closed
    assert not (await manager.get_connection_pool(database, SMALL, store)).closed


async def test_a_pool_closed_by_others_is_replaced(
    manager: GlobalConnectionManager, database: str
) -> None:
    """If a user closes the shared pool, the next caller gets a new pool that keeps the users."""
    store = Store()
    pool = await manager.get_connection_pool(database, SMALL, store)
    await pool.close()
    assert not await manager.is_pool_healthy(pool, database)
    again = await manager.get_connection_pool(database, SMALL)
    assert await backend(again) > 0
    (statistics,) = manager.get_pool_statistics().values()
    assert statistics["active_references"] == 1


async def test_other_settings_are_reported(
    manager: GlobalConnectionManager, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests for an open pool with different settings log one warning, and get that pool."""
    pool = await manager.get_connection_pool(database, SMALL)
    equal = ConnectionPoolConfig(min_size=1, max_size=2)
    assert await manager.get_connection_pool(database, equal) is pool
    assert not caplog.records
    for _ in range(3):
        assert await manager.get_connection_pool(database, ConnectionPoolConfig()) is pool
    assert len([r for r in caplog.records if "other settings" in r.getMessage()]) == 1
    assert pool.max_size == 2


async def test_warm_up(manager: GlobalConnectionManager, database: str) -> None:
    """After a warm-up, a pool has `min_size` connections before its first request."""
    config = ConnectionPoolConfig(min_size=4, max_size=4, max_waiting=1)
    (report,) = await warmup_global_connection_pools([database], config)
    assert report.error is None
    assert report.connections == 4
    assert report.seconds > 0
    assert backends(database) == 4
    pool = await manager.get_connection_pool(database)
    assert pool.get_stats()["pool_available"] == 4


async def test_two_loops_one_after_another(
    bare_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each new event loop gets a new pool, and pools of closed loops leave no connections open."""
    # A captured log record about an interrupted connection attempt would keep the socket alive.
    caplog.set_level(logging.CRITICAL, logger="psycopg.pool")

    def run() -> None:
        async def use() -> int:
            manager = get_global_connection_manager()
            pool = await manager.get_connection_pool(bare_database, SMALL)
            await backend(pool)
            return len(manager.get_pool_statistics())

        counts.append(asyncio.run(use()))

    counts: list[int] = []
    for _ in range(3):
        thread = threading.Thread(target=run)  # asyncio.run() needs a thread without a running loop
        thread.start()
        await asyncio.to_thread(thread.join)
    assert counts == [1, 1, 1]
    await reset_global_connection_pools()
    gc.collect()
    assert await settles(lambda: backends(bare_database) == 0)


async def test_two_loops_at_once(manager: GlobalConnectionManager, bare_database: str) -> None:
    """Event loops in two threads have separate pools, and either loop can close both pools."""
    pool = await manager.get_connection_pool(bare_database, SMALL)
    ready, done = threading.Event(), threading.Event()
    others: list[Any] = []

    async def use() -> None:
        other = await manager.get_connection_pool(bare_database, SMALL)
        await backend(other)
        others.append(other)
        ready.set()
        await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(use()))
    thread.start()
    try:
        assert await asyncio.to_thread(ready.wait, 10)
        assert others[0] is not pool
        await backend(pool)
        assert len(manager.get_pool_statistics()) == 2
        assert await manager.close_pool(bare_database)
        assert others[0].closed
        assert pool.closed
    finally:
        done.set()
        await asyncio.to_thread(thread.join)
    assert await settles(lambda: backends(bare_database) == 0)
    again = await manager.get_connection_pool(bare_database, SMALL)
    await assert_sound(manager, again, bare_database)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is not available")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_fork(manager: GlobalConnectionManager, bare_database: str) -> None:
    """A forked child opens new pools and does not touch its parent's sessions."""
    single = ConnectionPoolConfig(min_size=1, max_size=1)
    pool = await manager.get_connection_pool(bare_database, single)
    ours = await backend(pool)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            thread_result: list[int] = []

            async def use() -> int:
                fresh = get_global_connection_manager()
                assert fresh.get_pool_statistics() == {}
                return await backend(await fresh.get_connection_pool(bare_database, SMALL))

            # In this thread, asyncio still considers the parent's event loop to be running.
            thread = threading.Thread(target=lambda: thread_result.append(asyncio.run(use())))
            thread.start()
            thread.join(LIMIT)
            os.write(writing, str(thread_result[0]).encode())
            gc.collect()
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    assert status == 0
    assert int(theirs) != ours
    assert await backend(pool) == ours
    await assert_sound(manager, pool, bare_database)


async def test_trust_in_a_pool_ends_with_the_health_check_interval(
    manager: GlobalConnectionManager, database: str
) -> None:
    """However many times a pool is requested, its health is checked at most once per interval."""
    interval = 0.3
    config = ConnectionPoolConfig(min_size=1, max_size=1, health_check_interval=interval)
    monitor = get_performance_monitor()
    monitor.clear_metrics("pool_health_check")
    began = time.monotonic()
    pool = await manager.get_connection_pool(database, config)
    await pool.wait(LIMIT)
    asked = given = 0
    while asked < 3 or given < 10 * asked:
        assert await manager.get_connection_pool(database) is pool
        given += 1
        if stats := monitor.get_stats("pool_health_check"):
            asked = stats.count
        passed = time.monotonic() - began
        assert asked <= passed / interval + 1
        assert passed < LIMIT
        await asyncio.sleep(0.01)


async def test_closing_during_a_health_check(
    manager: GlobalConnectionManager, database: str
) -> None:
    """If a pool is closed during its health check, the caller gets a new pool."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, health_check_interval=0.0)
    pool = await manager.get_connection_pool(database, config)
    await pool.wait(LIMIT)
    asking = asyncio.create_task(manager.get_connection_pool(database))
    for _ in range(100):
        if pool.idle_connections == 0:
            break
        await asyncio.sleep(0)
    assert not asking.done()
    assert await manager.close_pool(database)
    again = await asking
    assert again is not pool
    assert not again.closed
    assert await backend(again) > 0


def test_a_loop_that_is_closed_over_its_pool(database: str) -> None:
    """If an event loop is closed without cancelling its pool's tasks, the tasks still end."""
    manager = get_global_connection_manager()
    lost: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, lost.append
    try:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(manager.get_connection_pool(database, SMALL))
        loop.close()
        del loop
        assert manager.get_pool_statistics() == {}
        gc.collect()
    finally:
        sys.unraisablehook = hook
    # Other errors are expected: asyncio's queues try to wake up the closed loop.
    assert not [one for one in lost if "no running event loop" in str(one.exc_value)]
