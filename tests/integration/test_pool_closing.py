"""Tests of pools that are closed while something else is under way."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from pool_checks import LIMIT, settles, settles_here
from psycopg_pool import PoolClosed
from slow_proxy import SlowProxy

from nanospan.pool import SyncVectorPool, VectorPool
from nanospan.pool.registry import REGISTRY

if TYPE_CHECKING:
    from nanospan.demo.database import EmbeddedServer

DOWN = "host=127.0.0.1 port=1"
REPORTS_SOON: Any = {"min_size": 1, "reconnect_timeout": 0.1}


async def test_closing_during_a_check(database: str) -> None:
    """A lease whose connection fails its check after the pool was closed raises PoolClosed."""
    asking = asyncio.Event()
    closed = asyncio.Event()

    async def check(_: object) -> None:
        asking.set()
        await closed.wait()
        raise LookupError

    async with VectorPool(database, min_size=1, check=check, timeout=LIMIT) as pool:
        leasing = asyncio.create_task(pool.getconn())
        await asking.wait()
        await pool.close()
        closed.set()
        with pytest.raises(PoolClosed):
            await leasing


def test_closing_during_a_check_in_a_thread(database: str) -> None:
    """The same holds in a synchronous pool."""

    def check(_: object) -> None:
        pool.close()
        raise LookupError

    with (
        SyncVectorPool(database, min_size=1, check=check, timeout=LIMIT, open=True) as pool,
        pytest.raises(PoolClosed),
    ):
        pool.getconn()


async def test_closing_when_reconnecting_failed() -> None:
    """The function that is called when reconnecting failed may close the pool."""
    closed: list[Any] = []

    async def close(pool: VectorPool[Any]) -> None:
        await pool.close()
        closed.append(pool)

    async with VectorPool(DOWN, reconnect_failed=close, **REPORTS_SOON) as pool:
        assert await settles(lambda: closed)
        assert pool.closed


def test_closing_when_reconnecting_failed_in_a_thread() -> None:
    """The same holds in a synchronous pool."""
    closed: list[Any] = []

    def close(pool: SyncVectorPool[Any]) -> None:
        pool.close()
        closed.append(pool)

    pool = SyncVectorPool(DOWN, reconnect_failed=close, open=True, **REPORTS_SOON)
    assert settles_here(lambda: closed)
    assert pool.closed


def test_exiting_when_reconnecting_failed() -> None:
    """A function that raises SystemExit, as in a thread it ends nothing, ends no worker either."""
    calls: list[Any] = []

    def leave(pool: object) -> None:
        calls.append(pool)
        sys.exit(3)

    with SyncVectorPool(DOWN, reconnect_failed=leave, open=True, num_workers=1, **REPORTS_SOON):
        assert settles_here(lambda: len(calls) >= 2)


def test_closing_while_every_worker_connects(database: str, server: EmbeddedServer) -> None:
    """Closing ends waiting leases at once, and waits no longer for all threads than it is told."""
    with SlowProxy(server.port) as proxy:
        proxy.silence()
        url = database.replace(f":{server.port}/", f":{proxy.port}/")
        pool = SyncVectorPool(url, min_size=30, num_workers=30, open=True, timeout=LIMIT)
        failures: list[Exception] = []

        def lease() -> None:
            try:
                pool.getconn()
            except PoolClosed as exc:
                failures.append(exc)

        thread = threading.Thread(target=lease)
        thread.start()
        assert settles_here(lambda: pool.waiting_leases == 1)
        began = time.monotonic()
        closing = threading.Thread(target=pool.close, args=(0.5,))
        closing.start()
        assert settles_here(lambda: failures)
        closing.join()
        assert time.monotonic() - began < 10.0  # and not 0.5 s for each of 30 threads
        thread.join()


def test_forking_after_a_failed_constructor(database: str) -> None:
    """A pool whose constructor failed does not keep a forked child from leaving others."""
    with pytest.raises(ValueError, match="min_size") as failure:
        SyncVectorPool(database, min_size=-1)
    assert failure.value.__traceback__ is not None  # whose frames keep the pool
    types = REGISTRY.types
    with SyncVectorPool(database, min_size=1, open=True) as pool:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if pool.closed and REGISTRY.types is not types else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
