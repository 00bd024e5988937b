"""Helpers for the pool tests: statements outside a pool, backends, and waiting for conditions."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanospan.pool import GlobalConnectionManager

LIMIT = 60.0
"""Maximum wait for a condition, in seconds; only a broken program exceeds it."""


def run(url: str, *statements: str) -> None:
    """Execute statements on a connection outside the pool."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def ask(url: str, query: str) -> Any:
    """Return the single value of a query run on a connection outside the pool."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def backends(url: str) -> int:
    """Return the number of other connections to the database of ``url``."""
    return int(
        ask(
            url,
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
    )


def kill_backends(url: str) -> int:
    """Terminate all other connections to the database of ``url``, and wait until they are gone."""
    return int(
        ask(
            url,
            "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'",
        )
    )


async def settles(condition: Callable[[], object]) -> bool:
    """Return True if ``condition``, called in a thread, becomes true within the time limit."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if await asyncio.to_thread(condition):
            return True
        await asyncio.sleep(0.02)
    return False


def settles_here(condition: Callable[[], object]) -> bool:
    """Return True if ``condition`` becomes true within the time limit; needs no event loop."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


async def backend(pool: Any) -> int:
    """Lease a connection, and return the process ID of its backend."""
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT pg_backend_pid()")
        (pid,) = await cursor.fetchone()
        return int(pid)


async def assert_sound(manager: GlobalConnectionManager, pool: Any, url: str) -> None:
    """Assert that the pool works, agrees with the server on its connections, and leaves no task."""
    assert await backend(pool) > 0
    assert len(pool.leases) == 0
    assert pool.waiting_leases == 0
    agree = await settles(
        lambda: pool.idle_connections == pool.get_stats()["pool_size"] == backends(url)
    )
    assert agree, (pool.idle_connections, pool.get_stats(), backends(url))
    assert pool.min_size <= pool.idle_connections <= pool.max_size
    assert await manager.close_all_pools()
    assert await settles(lambda: backends(url) == 0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=LIMIT)
    assert not [task for task in left if not task.done()]
