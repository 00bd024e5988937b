"""Tests that programs written for psycopg_pool work with the pools as they are."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from pool_checks import LIMIT, kill_backends, settles_here
from psycopg import Connection, OperationalError
from psycopg.rows import Row, TupleRow

from nanospan.pool import SyncVectorPool, VectorPool

if TYPE_CHECKING:
    from psycopg import AsyncConnection


def test_leases_beside_the_sweep(database: str) -> None:
    """A connection can be leased while the sweep of the pool looks at it."""

    def lease(times: int) -> None:
        for _ in range(times):
            with pool.connection():
                pass

    with (
        SyncVectorPool(database, min_size=2, timeout=LIMIT) as pool,
        ThreadPoolExecutor(2) as threads,
    ):
        leases = [threads.submit(lease, 1000) for _ in range(2)]
        while not all(each.done() for each in leases):
            pool.sweep()
        assert [each.exception() for each in leases] == [None, None]
        assert pool.idle_connections == pool.get_stats()["pool_size"] == 2


def test_the_log_of_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is logged once, even if several workers meet it at the same time."""
    pool = SyncVectorPool("host=127.0.0.1 port=1", name="shop", min_size=8, open=False)

    def all_have_failed(_: logging.LogRecord) -> bool:
        return settles_here(lambda: pool.get_stats().get("connections_errors", 0) >= 8)

    with caplog.filtering(all_have_failed), pool:
        assert settles_here(lambda: caplog.records)
    warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("pool shop cannot connect and will keep trying: ")


async def test_subclasses_that_override_getconn(database: str) -> None:
    """`connection` takes and returns connections with the methods of a user's subclass."""
    calls: list[str] = []

    class Pool(VectorPool):
        async def getconn(self, timeout: float | None = None) -> AsyncConnection[TupleRow]:
            calls.append("get")
            return await super().getconn(timeout)

        async def putconn(self, conn: AsyncConnection[TupleRow]) -> None:
            calls.append("put")
            await super().putconn(conn)

    class SyncPool(SyncVectorPool):
        def getconn(self, timeout: float | None = None) -> Connection[TupleRow]:
            calls.append("get")
            return super().getconn(timeout)

        def putconn(self, conn: Connection[TupleRow]) -> None:
            calls.append("put")
            super().putconn(conn)

    async with Pool(database, min_size=1) as pool:
        lease = pool.connection(label="recall")
        async with lease as connection:
            await connection.execute("SELECT 1")
            assert [each.label for each in pool.leases.views(0)] == ["recall"]
        with pytest.raises(RuntimeError, match="one block only"):
            await lease.__aenter__()
    with SyncPool(database, min_size=1) as synchronous:
        with synchronous.connection(label="recall") as leased:
            leased.execute("SELECT 1")
            assert [each.label for each in synchronous.leases.views(0)] == ["recall"]
        assert synchronous.get_stats()["pool_available"] == 1
    assert calls == ["get", "put"] * 2


class OwnConnection(Connection[Row]):
    """A user's class of connections."""


async def test_closing_returns_broken_connections(database: str) -> None:
    """With `close_returns`, closing a connection that broke while leased makes room for another."""
    async with VectorPool(database, min_size=1, close_returns=True) as pool:
        for _ in range(2):
            connection = await pool.getconn(LIMIT)
            kill_backends(database)
            with pytest.raises(OperationalError):
                await connection.execute("SELECT 1")
            await connection.close()
            assert connection not in pool.leases
    with SyncVectorPool(
        database, min_size=1, close_returns=True, connection_class=OwnConnection[TupleRow]
    ) as synchronous:
        for _ in range(2):
            leased = synchronous.getconn(LIMIT)
            kill_backends(database)
            with pytest.raises(OperationalError):
                leased.execute("SELECT 1")
            leased.close()
        leased = synchronous.getconn(LIMIT)
        leased.close()
        assert not leased.closed
