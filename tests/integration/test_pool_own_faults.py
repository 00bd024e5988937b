"""Tests that a fault of the program is raised at once, and is never waited for as an outage is."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from pool_checks import LIMIT, assert_sound, settles, settles_here

from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    SyncConnectionManager,
    health,
)
from nanospan.pool.connections import Pooled

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = ConnectionPoolConfig(min_size=1, max_size=3, timeout=LIMIT, connection_timeout=LIMIT)
CHECKING = ConnectionPoolConfig(
    min_size=1, max_size=1, timeout=LIMIT, connection_timeout=LIMIT, health_check_interval=0.0
)


def broken(*_: object) -> None:
    """Fail as code does that calls a function which does not exist."""
    raise AttributeError("module 'select' has no attribute 'poll'")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Yield a monkeypatch under which no connection can be prepared."""
    with monkeypatch.context() as patch:
        patch.setattr(Pooled, "watch", broken)
        yield patch


async def test_lease(
    manager: GlobalConnectionManager,
    database: str,
    faulty: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A lease, a wait and a warm-up raise the fault itself; the pool works once it is mended."""
    began = time.monotonic()
    with pytest.raises(AttributeError, match="no attribute 'poll'"):
        async with manager.lease(database, config=CONFIG):
            pass
    with pytest.raises(AttributeError):
        await manager.warmup_common_pools([database], strict=True)
    [report] = await manager.warmup_common_pools([database])
    assert isinstance(report.error, AttributeError)
    pool = await manager.get_connection_pool(database)
    assert await settles(lambda: pool.get_stats()["pool_size"] == 0)
    assert time.monotonic() - began < LIMIT
    assert "keep trying" not in caplog.text
    faults = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.exc_info is not None for record in faults] == [True, False, False]
    faulty.undo()
    await assert_sound(manager, pool, database)


def test_synchronous_lease(
    sync_manager: SyncConnectionManager,
    database: str,
    faulty: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A synchronous lease, wait and warm-up raise the fault itself, too."""
    with pytest.raises(AttributeError), sync_manager.lease(database, config=CONFIG):
        pass
    with pytest.raises(AttributeError):
        sync_manager.warmup_common_pools([database], strict=True)
    assert "keep trying" not in caplog.text
    faulty.undo()
    pool = sync_manager.get_connection_pool(database)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(pool.connection())
    assert settles_here(lambda: pool.idle_connections == pool.get_stats()["pool_size"])


async def test_waiting_leases_get_the_fault_each_for_itself(
    manager: GlobalConnectionManager, database: str, faulty: pytest.MonkeyPatch
) -> None:
    """Leases that wait for the same connection raise the same fault, but not the same object."""
    pool = await manager.get_connection_pool(database, CONFIG)
    errors = await asyncio.gather(*(pool.getconn() for _ in range(4)), return_exceptions=True)
    assert {type(error) for error in errors} == {AttributeError}
    assert len({id(error) for error in errors}) == 4
    depths = []
    for _ in range(3):
        with pytest.raises(AttributeError) as caught:
            await pool.wait(LIMIT)
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1


async def test_health_check(
    manager: GlobalConnectionManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in a health check is raised; the connection is replaced, so none is lost."""
    pool = await manager.get_connection_pool(database, CHECKING)
    await pool.wait(LIMIT)
    with monkeypatch.context() as patch:
        patch.setattr(health, "query_async", broken)
        for _ in range(3):
            with pytest.raises(AttributeError):
                await pool.getconn()
            await pool.wait(LIMIT)
    await assert_sound(manager, pool, database)


def test_synchronous_health_check(
    sync_manager: SyncConnectionManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in a synchronous health check is raised, too."""
    pool = sync_manager.get_connection_pool(database, CHECKING)
    pool.wait(LIMIT)
    with monkeypatch.context() as patch:
        patch.setattr(health, "query", broken)
        with pytest.raises(AttributeError):
            pool.getconn()
    with pool.connection() as connection:
        assert connection.info.status.name == "OK"


def test_eventlet(database: str) -> None:
    """In a program that eventlet has patched, both kinds of lease work."""
    code = f"""
import warnings
warnings.simplefilter("ignore")  # eventlet announces its end
import eventlet
eventlet.monkey_patch()
import asyncio, select
from nanospan.pool import *
assert not hasattr(select, "poll")
config = ConnectionPoolConfig(min_size=1, max_size=2)
manager = get_sync_connection_manager()

def ask(number):
    with manager.lease({database!r}, config=config) as connection:
        return connection.execute("SELECT %s::int", [number]).fetchone()[0]

print(list(eventlet.GreenPool(5).imap(ask, range(5))))

async def main():
    manager = get_global_connection_manager()
    for _ in range(2):
        async with manager.lease({database!r}, config=config) as connection:
            print(await (await connection.execute("SELECT '[1]'::vector::text")).fetchone())

asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, check=True, timeout=LIMIT, capture_output=True, text=True)
    assert printed.stdout == "[0, 1, 2, 3, 4]\n('[1]',)\n('[1]',)\n", printed.stderr
