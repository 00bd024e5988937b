"""Tests that every pool setting takes effect on real connections."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import psycopg_pool
import pytest
from pool_checks import LIMIT, settles

from nanospan import get_performance_monitor
from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    PoolExhausted,
    mask_conninfo,
)


async def pid(pool: Any) -> int:
    """Lease a connection, and return the process ID of its backend."""
    async with pool.connection() as connection:
        return int(connection.info.backend_pid)


async def test_libpq_parameters(manager: GlobalConnectionManager, database: str) -> None:
    """The connect timeout and keepalive settings reach libpq as connection parameters."""
    config = ConnectionPoolConfig(
        min_size=1,
        max_size=1,
        connection_timeout=6.5,
        keepalives_idle=41,
        keepalives_interval=7,
        keepalives_count=4,
    )
    pool = await manager.get_connection_pool(database, config)
    async with pool.connection() as connection:
        parameters = connection.info.get_parameters()
        expected = {
            "connect_timeout": "7",
            "keepalives_idle": "41",
            "keepalives_interval": "7",
            "keepalives_count": "4",
        }
        assert expected.items() <= parameters.items()
        if sys.platform == "linux":
            with socket.socket(fileno=connection.fileno()) as tcp:
                options = [
                    tcp.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                ]
                assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                tcp.detach()
            assert options == [41, 7, 4]


async def test_conninfo_wins(manager: GlobalConnectionManager, database: str) -> None:
    """Parameters in the connection string take precedence over the settings."""
    pool = await manager.get_connection_pool(
        f"{database}?keepalives_idle=99&connect_timeout=8",
        ConnectionPoolConfig(min_size=1, max_size=1),
    )
    async with pool.connection() as connection:
        parameters = connection.info.get_parameters()
    assert parameters["keepalives_idle"] == "99"
    assert parameters["connect_timeout"] == "8"
    assert parameters["keepalives_count"] == "3"


async def test_sizes_and_timeout(manager: GlobalConnectionManager, database: str) -> None:
    """At most `max_size` connections can be leased; another lease waits and then times out."""
    config = ConnectionPoolConfig(min_size=1, max_size=2, timeout=0.2)
    pool = await manager.get_connection_pool(database, config)
    async with pool.connection(LIMIT) as first, pool.connection(LIMIT) as second:
        assert first is not second
        with pytest.raises(psycopg_pool.PoolTimeout):
            await pool.getconn()


async def test_max_waiting(manager: GlobalConnectionManager, database: str) -> None:
    """If `max_waiting` leases are waiting, another fails at once; the waiting leases are served."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, max_waiting=1)
    pool = await manager.get_connection_pool(database, config)
    async with pool.connection():
        waiting = asyncio.create_task(pid(pool))
        assert await settles(lambda: pool.waiting_leases == 1)
        with pytest.raises(psycopg_pool.TooManyRequests) as caught:
            await pool.getconn()
        assert isinstance(caught.value, PoolExhausted)
    assert await waiting > 0


async def test_recycle(manager: GlobalConnectionManager, database: str) -> None:
    """A connection older than `recycle` is replaced on return and never leased again."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, recycle=0.3)
    pool = await manager.get_connection_pool(database, config)
    async with pool.connection() as connection:
        held = connection.info.backend_pid
        await asyncio.sleep(0.4)
    idle = await pid(pool)
    assert idle != held
    await asyncio.sleep(0.4)
    assert await pid(pool) not in {idle, held}


@pytest.mark.parametrize(("threshold", "prepared"), [("auto", 0), (None, 0), (0, 1)])
async def test_prepare_threshold(
    manager: GlobalConnectionManager, database: str, threshold: Any, prepared: int
) -> None:
    """Only statements of leases are prepared, and only from the `prepare_threshold` on."""
    config = ConnectionPoolConfig(
        min_size=1, max_size=1, health_check_interval=0, prepare_threshold=threshold
    )
    pool = await manager.get_connection_pool(database, config)
    for _ in range(3):
        async with pool.connection() as connection:
            cursor = await connection.execute("SELECT count(*) FROM pg_prepared_statements")
            row = await cursor.fetchone()
    assert row == (prepared,)


async def test_max_idle(manager: GlobalConnectionManager, database: str) -> None:
    """Unused connections in excess of `min_size` are closed after `max_idle`."""
    config = ConnectionPoolConfig(min_size=1, max_size=2, max_idle=0.2)
    pool = await manager.get_connection_pool(database, config)
    async with pool.connection(), pool.connection():
        assert pool.get_stats()["pool_size"] == 2
    assert await settles(lambda: pool.get_stats()["pool_size"] == 1)


@pytest.mark.parametrize(("interval", "questions"), [(300.0, 0), (0.0, 3)])
async def test_health_check_interval(
    manager: GlobalConnectionManager, database: str, interval: float, questions: int
) -> None:
    """Only connections idle for longer than `health_check_interval` are checked on lease."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, health_check_interval=interval)
    pool = await manager.get_connection_pool(database, config)
    await pool.wait(LIMIT)
    monitor = get_performance_monitor()
    monitor.clear_metrics("pool_health_check")
    for _ in range(3):
        await pid(pool)
    checks = monitor.get_stats("pool_health_check")
    assert (checks.count if checks else 0) == questions
    for sample in monitor.export_metrics().get("pool_health_check", []):
        assert sample["metadata"] == {"pool": mask_conninfo(database)}
