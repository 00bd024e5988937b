"""Tests for leases: timing, labels, transactions, timeouts, exhaustion and leak reports."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from pool_checks import LIMIT, ask, assert_sound, backend, run, settles
from psycopg.pq import TransactionStatus
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from nanospan import get_performance_monitor
from nanospan.export.write import write
from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    PoolExhausted,
    PoolOverloaded,
)

if TYPE_CHECKING:
    from pathlib import Path

TWO = ConnectionPoolConfig(min_size=1, max_size=2)


async def test_a_lease_is_timed(manager: GlobalConnectionManager, database: str) -> None:
    """A lease's wait is recorded as `connection_pool_access`, its block as `connection_lease`."""
    monitor = get_performance_monitor()
    for operation in ("connection_pool_access", "connection_lease"):
        monitor.clear_metrics(operation)
    async with manager.lease(database, config=TWO) as connection:
        await connection.execute("SELECT pg_sleep(0.05)")
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with manager.lease(database) as connection:
            await connection.execute("SELECT 1 / 0")
    access = monitor.get_stats("connection_pool_access")
    lease = monitor.get_stats("connection_lease")
    assert access is not None
    assert lease is not None
    assert access.count == lease.count == 2
    assert access.success_rate == 1.0
    assert lease.success_rate == 0.5
    assert lease.max_duration >= 0.05
    (statistics,) = manager.get_pool_statistics().values()
    assert statistics["wait"]["count"] == statistics["hold"]["count"] == 2
    assert statistics["hold"]["p99"] >= 0.05


async def test_leases_have_a_track_in_the_time_line(
    manager: GlobalConnectionManager, database: str, tmp_path: Path
) -> None:
    """The timeline shows each lease on its pool's track, and marks leases that failed."""
    monitor = get_performance_monitor()
    monitor.clear_metrics()
    with suppress(RuntimeError):
        async with manager.lease(database, config=TWO):
            raise RuntimeError("no")
    async with manager.lease(database, config=TWO), manager.lease(database, config=TWO):
        pass
    write(monitor, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    groups = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    leases = [e for e in events if e["ph"] == "X" and groups[e["pid"]] == "connection pools"]
    (pool,) = manager.get_pool_statistics()
    assert sorted(e["name"] for e in leases) == [pool, pool, f"{pool}: error"]
    assert len({e["tid"] for e in leases}) == 2  # two leases overlap


async def test_a_block_is_a_transaction(manager: GlobalConnectionManager, database: str) -> None:
    """A lease's transaction is committed at the end of its block, or rolled back on an error."""
    run(database, "CREATE TABLE t (x int)")
    async with manager.lease(database) as connection:
        await connection.execute("INSERT INTO t VALUES (1)")

    async def fail() -> None:
        async with manager.lease(database) as connection:
            await connection.execute("INSERT INTO t VALUES (2)")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await fail()
    assert ask(database, "SELECT array_agg(x) FROM t") == [1]


async def test_transactions_left_open_by_getconn(
    manager: GlobalConnectionManager, database: str
) -> None:
    """If a connection is returned with an open transaction, the transaction is rolled back."""
    run(database, "CREATE TABLE t (x int)")
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 1))
    connection = await pool.getconn()
    await connection.execute("INSERT INTO t VALUES (1)")
    await pool.putconn(connection)
    again = await pool.getconn()
    assert again is connection
    assert again.pgconn.transaction_status == TransactionStatus.IDLE
    await pool.putconn(again)
    assert ask(database, "SELECT count(*) FROM t") == 0


async def test_holders(manager: GlobalConnectionManager, database: str) -> None:
    """Statistics list current leases with label, task and duration, longest first."""

    async def hold(label: str, taken: asyncio.Event) -> None:
        async with manager.lease(database, label, config=TWO):
            taken.set()
            await asyncio.sleep(60)

    tasks = []
    for label in ("nightly-import", "recall"):
        taken = asyncio.Event()
        tasks.append(asyncio.create_task(hold(label, taken), name=f"task-of-{label}"))
        await taken.wait()
    (statistics,) = manager.get_pool_statistics().values()
    assert statistics["leased"] == 2
    first, second = statistics["holders"]
    assert (first["label"], first["owner"]) == ("nightly-import", "task 'task-of-nightly-import'")
    assert second["label"] == "recall"
    assert first["seconds"] > second["seconds"] > 0
    assert first["stack"] == []
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    (statistics,) = manager.get_pool_statistics().values()
    assert statistics["holders"] == []


async def test_exhaustion_names_the_holders(
    manager: GlobalConnectionManager, database: str
) -> None:
    """An exhausted pool's error gives sizes, waiting leases, the longest leases and a remedy."""
    config = ConnectionPoolConfig(min_size=1, max_size=7, timeout=0.2)
    async with AsyncExitStack() as leases:
        for number in range(7):
            await leases.enter_async_context(
                manager.lease(database, f"holder-{number}", config=config, timeout=LIMIT)
            )
        with pytest.raises(PoolExhausted) as caught:
            async with manager.lease(database):
                pass
    error = caught.value
    text = str(error)
    assert isinstance(error, PoolTimeout)
    assert error.pool == database
    assert (error.min_size, error.max_size, error.leased, error.waiting) == (1, 7, 7, 0)
    assert [holder.label for holder in error.holders] == [f"holder-{n}" for n in range(5)]
    assert "within 0.2" in text
    assert "7 of at most 7 connections are leased (min_size 1)" in text
    assert "'holder-4'" in text
    assert "holder-5" not in text
    assert "and 2 more" in text
    assert "raise max_size (7) or timeout (0.2 s)" in text
    assert str(pickle.loads(pickle.dumps(error))) == text
    (statistics,) = manager.get_pool_statistics().values()
    assert statistics["errors"] == 1


async def test_stacks(manager: GlobalConnectionManager, database: str) -> None:
    """With `capture_stacks`, an exhausted pool's error shows the line that took each lease."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, timeout=0.1, capture_stacks=True)
    async with manager.lease(database, config=config, timeout=LIMIT):
        (statistics,) = manager.get_pool_statistics().values()
        with pytest.raises(
            PoolExhausted, match=r"test_pool_leases.py:\d+ in test_stacks"
        ) as caught:
            await (await manager.get_connection_pool(database)).getconn()
    assert "test_stacks" in statistics["holders"][0]["stack"][-1]
    assert "nanospan/pool" not in str(caught.value)


async def test_overload(manager: GlobalConnectionManager, database: str) -> None:
    """If `max_waiting` leases are waiting, another fails at once; timed-out leases do not count."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, timeout=60.0, max_waiting=1)
    pool = await manager.get_connection_pool(database, config)
    async with pool.connection(label="busy"):
        with pytest.raises(PoolExhausted):
            await pool.getconn(timeout=0.05)
        waiting = asyncio.create_task(backend(pool))
        assert await settles(lambda: pool.waiting_leases == 1)
        with pytest.raises(PoolOverloaded, match=r"1 leases are already(.|\n)*'busy'") as caught:
            await pool.getconn()
        assert isinstance(caught.value, TooManyRequests)
    assert await waiting > 0
    await assert_sound(manager, pool, database)


@pytest.mark.parametrize("leak_after", [0.1, LIMIT, None])
async def test_leaks(
    manager: GlobalConnectionManager,
    database: str,
    leak_after: float | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only a lease held longer than `leak_after` is logged, once, with its holder."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, leak_after=leak_after)
    pool = await manager.get_connection_pool(database, config)
    too_long = leak_after is not None and leak_after < LIMIT

    def reports() -> list[str]:
        return [r.getMessage() for r in caplog.records if "held for more" in r.getMessage()]

    with caplog.at_level(logging.WARNING):
        async with manager.lease(database, "forgotten"):
            if too_long:
                assert await settles(reports)
                await asyncio.sleep(3 * pool.policy.sweep_interval)
            else:
                await asyncio.sleep(0.3)
    assert len(reports()) == too_long
    for report in reports():
        assert database in report
        assert "'forgotten'" in report
        assert "Task" in report


async def test_fairness(manager: GlobalConnectionManager, database: str) -> None:
    """Leases are served in the order in which they were requested."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 1))
    order: list[int] = []

    async def use(number: int) -> None:
        async with pool.connection():
            order.append(number)

    async with pool.connection():
        tasks = [asyncio.create_task(use(number)) for number in range(50)]
        assert await settles(lambda: pool.waiting_leases == 50)
    await asyncio.gather(*tasks)
    assert order == list(range(50))


async def test_closing_ends_waiting(manager: GlobalConnectionManager, database: str) -> None:
    """Closing a pool fails its waiting leases, and closes leased connections on return."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 1))
    async with pool.connection() as connection:
        waiting = asyncio.create_task(pool.getconn())
        assert await settles(lambda: pool.waiting_leases == 1)
        assert await manager.close_all_pools()
        with pytest.raises(PoolClosed):
            await waiting
        assert not connection.closed
    assert connection.closed
    with pytest.raises(PoolClosed):
        await pool.getconn()


async def test_strangers_are_refused(manager: GlobalConnectionManager, database: str) -> None:
    """A connection that a pool did not lease cannot be returned to it."""
    pool = await manager.get_connection_pool(database, TWO)
    stranger = await psycopg.AsyncConnection.connect(database)
    with pytest.raises(ValueError, match="doesn't come from any pool"):
        await pool.putconn(stranger)  # type: ignore[arg-type]
    await stranger.close()


async def test_time_outs_of_leases(manager: GlobalConnectionManager, database: str) -> None:
    """A lease's own timeout overrides the pool's timeout; with zero, the lease does not wait."""
    pool = await manager.get_connection_pool(database, ConnectionPoolConfig(1, 1))
    await pool.wait()
    async with manager.lease(database, timeout=0):
        with pytest.raises(PoolExhausted):
            async with manager.lease(database, timeout=0):
                pass


async def test_a_lease_that_waits_for_a_connection_being_asked(
    manager: GlobalConnectionManager, database: str
) -> None:
    """If another lease is checking the only idle connection, a lease gets a new connection."""
    config = ConnectionPoolConfig(min_size=1, max_size=2, health_check_interval=0.0)
    pool = await manager.get_connection_pool(database, config)
    await pool.wait(LIMIT)
    ended = asyncio.Event()

    async def hold() -> None:
        async with pool.connection():
            await ended.wait()

    holding = asyncio.create_task(hold())
    waiting = asyncio.create_task(backend(pool))
    assert await settles(waiting.done)
    ended.set()
    await holding
    assert await waiting > 0
    await assert_sound(manager, pool, database)


async def test_a_lease_is_for_one_block(manager: GlobalConnectionManager, database: str) -> None:
    """Entering the same lease twice, nested or in sequence, raises and takes no connection."""
    pool = await manager.get_connection_pool(database, TWO)
    lease = pool.connection()
    async with lease as connection:
        with pytest.raises(RuntimeError, match="one block"):
            await lease.__aenter__()
        await connection.execute("SELECT 1")
    with pytest.raises(RuntimeError, match="one block"):
        await lease.__aenter__()
    await assert_sound(manager, pool, database)
