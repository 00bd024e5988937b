"""Tests that a lease finds a connection as every lease before it did."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pool_checks import LIMIT, ask, run
from psycopg import IsolationLevel
from psycopg.rows import dict_row, tuple_row

from nanospan.pool import SyncVectorPool, VectorNullPool, VectorPool

if TYPE_CHECKING:
    from collections.abc import Callable


async def shown(connection: Any, name: str = "search_path") -> str:
    """Return the value of a parameter."""
    row = await (await connection.execute(f"SHOW {name}")).fetchone()
    assert row is not None
    return str(row[0])


async def test_autocommit_ends_with_the_lease(database: str) -> None:
    """An insert is rolled back when its block raises, though an earlier lease set autocommit."""
    run(database, "CREATE TABLE found (number int)")
    async with VectorPool(database, min_size=1) as pool:
        async with pool.connection() as connection:
            await connection.set_autocommit(True)
        with suppress(ZeroDivisionError):
            async with pool.connection() as connection:
                await connection.execute("INSERT INTO found VALUES (1)")
                raise ZeroDivisionError
    assert ask(database, "SELECT count(*) FROM found") == 0


async def test_attributes(database: str, server: Any) -> None:
    """All of psycopg's attributes are as `configure` left them, without a round trip."""

    async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.set_isolation_level(IsolationLevel.SERIALIZABLE)
        connection.add_notice_handler(hear)

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        heard.append(notice.message_primary)

    heard: list[str | None] = []
    async with VectorPool(database, min_size=1, configure=configure) as pool:
        await pool.wait(LIMIT)
        connection: Any = await pool.getconn()
        before = server.log_path.read_text().count("statement: ")
        pid = connection.info.backend_pid
        await connection.set_autocommit(True)
        await connection.set_read_only(True)
        await connection.set_deferrable(True)
        await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        connection.row_factory = dict_row
        connection.cursor_factory = psycopg.AsyncClientCursor
        connection.server_cursor_factory = psycopg.AsyncServerCursor
        connection.prepare_threshold = None
        connection.prepared_max = 3
        connection.add_notice_handler(print)
        connection.remove_notice_handler(hear)
        connection.add_notify_handler(print)
        await pool.putconn(connection)
        assert pool.idle_connections == 1
        assert server.log_path.read_text().count("statement: ") == before
        async with pool.connection() as again:
            assert again.info.backend_pid == pid
            assert (again.autocommit, again.read_only, again.deferrable) == (False, None, None)
            assert again.isolation_level is IsolationLevel.SERIALIZABLE
            assert again.row_factory is tuple_row
            assert again.cursor_factory is psycopg.AsyncCursor
            assert (again.prepare_threshold, again.prepared_max) == (5, 100)
            assert connection._notice_handlers == [hear]
            assert connection._notify_handlers == []
            await again.execute("DO $$ BEGIN RAISE NOTICE 'heard'; END $$")
    assert heard == ["heard"]


async def test_reported_parameters(database: str) -> None:
    """A parameter that the server reports is reset when the lease ends that has changed it."""
    statements = {
        "search_path": "SET search_path = nowhere",
        "TimeZone": "SET TimeZone = 'Asia/Tokyo'",
        "DateStyle": "SET DateStyle = 'German'",
        "IntervalStyle": "SET IntervalStyle = 'iso_8601'",
        "application_name": "SET application_name = 'mine'",
        "client_encoding": "SET client_encoding = 'LATIN1'",
        "default_transaction_read_only": "SET default_transaction_read_only = on",
        "role": "SET ROLE pg_monitor",
        "session_authorization": "SET SESSION AUTHORIZATION pg_monitor",
    }
    async with VectorPool(database, min_size=1) as pool:
        for name, statement in statements.items():
            async with pool.connection() as connection:
                pid, before = connection.info.backend_pid, await shown(connection, name)
                await connection.execute(statement)
                assert await shown(connection, name) != before
            async with pool.connection() as connection:
                assert await shown(connection, name) == before
                assert connection.info.backend_pid == pid


async def test_a_configured_parameter(database: str) -> None:
    """If a reset would undo what `configure` has set, the connection is replaced instead."""

    async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await connection.execute("SET search_path = configured")

    async with VectorPool(database, min_size=1, configure=configure) as pool:
        async with pool.connection() as connection:
            pid = connection.info.backend_pid
            await connection.execute("SET search_path = other")
        async with pool.connection() as connection:
            assert await shown(connection) == "configured"
            assert connection.info.backend_pid != pid


async def test_discard(database: str) -> None:
    """With `reset="discard"`, nothing of a session remains, and it is configured again."""

    async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await connection.execute("SET statement_timeout = 12345")

    async with VectorPool(database, min_size=1, configure=configure, reset="discard") as pool:
        for _ in range(2):
            async with pool.connection() as connection:
                pid = connection.info.backend_pid
                assert await shown(connection, "statement_timeout") == "12345ms"
                for _ in range(7):
                    await connection.execute("SELECT 1")
                await connection.execute("SET statement_timeout = 1000")
                await connection.execute("CREATE TEMPORARY TABLE scratch (number int)")
                await connection.execute("LISTEN channel")
                await connection.execute("SELECT pg_advisory_lock(1)")
        async with pool.connection() as connection:
            assert connection.info.backend_pid == pid
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
            assert await (await connection.execute(query, [pid])).fetchone() == (0,)
            listening = await connection.execute("SELECT * FROM pg_listening_channels()")
            assert await listening.fetchall() == []


async def test_handlers_after_discard(database: str) -> None:
    """Configuring a connection again does not add its handlers a second time."""
    heard: list[str | None] = []

    def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))

    async with VectorPool(database, min_size=1, configure=configure, reset="discard") as pool:
        for _ in range(2):
            heard.clear()
            async with pool.connection() as connection:
                await connection.execute("DO $$ BEGIN RAISE NOTICE 'heard'; END $$")
            assert heard == ["heard"]
            await pool.wait(LIMIT)


async def test_configure_after_discard(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that `configure` leaves in a transaction after a reset is replaced."""
    calls: list[object] = []

    async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        calls.append(connection)
        if len(calls) == 2:
            await connection.execute("SELECT 1")

    async with VectorPool(database, min_size=1, configure=configure, reset="discard") as pool:
        first = await pool.getconn()
        await first.execute("SELECT 1")
        await pool.putconn(first)
        assert await pool.getconn() is not first
    assert "configure function left it in status INTRANS" in caplog.text


async def test_discard_costs_nothing_unused(database: str, server: Any) -> None:
    """A connection that a lease has not used is not reset."""
    async with VectorPool(database, min_size=1, reset="discard") as pool:
        await pool.wait(LIMIT)
        async with pool.connection():
            pass
        assert pool.idle_connections == 1
    assert "DISCARD" not in server.log_path.read_text().split(database.rpartition("/")[2])[-1]


async def test_reset_function(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """A function resets the connection; if it fails or leaves a transaction, it is replaced."""
    calls: list[str] = []

    async def reset(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.rollback()
        calls.append(await shown(connection))
        if len(calls) == 1:
            await connection.rollback()
        if len(calls) == 3:
            raise ZeroDivisionError

    pids = []
    async with VectorPool(database, min_size=1, reset=reset) as pool:
        for _ in range(4):
            async with pool.connection() as connection:
                pids.append(connection.info.backend_pid)
                await connection.execute("SET search_path = nowhere")
            await pool.wait(LIMIT)
    assert calls == ['"$user", public'] * 4
    assert pids[0] == pids[1]
    assert len(set(pids)) == 3
    assert "INTRANS" in caplog.text
    assert "ZeroDivisionError" in caplog.text or "error resetting" in caplog.text


async def test_null_pools(database: str) -> None:
    """A connection of a null pool that goes on to a waiting lease is reset as well."""
    async with VectorNullPool(database, max_size=1) as pool:
        first: Any = await pool.getconn()
        await first.set_autocommit(True)
        await first.execute("SET search_path = nowhere")
        waiting = asyncio.create_task(pool.getconn())
        await asyncio.sleep(0)
        assert pool.waiting_leases == 1
        await pool.putconn(first)
        second = await waiting
        assert second is first
        assert not second.autocommit
        assert await shown(second) == '"$user", public'
        await pool.putconn(second)


@pytest.mark.parametrize("reset", ["none", "discard"])
def test_synchronous_pools(database: str, reset: Any) -> None:
    """The same holds in synchronous pools."""
    configured: list[int] = []

    def configure(connection: psycopg.Connection[Any]) -> None:
        configured.append(connection.info.backend_pid)

    with SyncVectorPool(database, min_size=1, reset=reset, configure=configure, open=True) as pool:
        with pool.connection() as connection:
            pid = connection.info.backend_pid
            connection.execute("SET search_path = nowhere")
            connection.execute("SET ROLE pg_monitor")
            connection.commit()
            connection.autocommit = True
            connection.row_factory = dict_row
        with pool.connection() as connection:
            assert connection.info.backend_pid == pid
            assert not connection.autocommit
            assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
            assert connection.execute("SHOW role").fetchone() == ("none",)
    assert set(configured) == {pid}
    assert len(configured) == (1 if reset == "none" else 3)


def leave_pipeline(connection: Any) -> None:
    connection.pipeline().__enter__()


def leave_transaction_block(connection: Any) -> None:
    connection.transaction().__enter__()


def leave_notifications(connection: Any) -> None:
    connection.execute("LISTEN channel")
    connection.execute("NOTIFY channel")
    if not connection.autocommit:
        connection.commit()
    notifications.append(connection.notifies())
    next(notifications[-1])


def leave_notifications_in_transaction(connection: Any) -> None:
    leave_notifications(connection)
    connection.pgconn.exec_(b"BEGIN")


notifications: list[Any] = []


def leave_two_phase(connection: Any) -> None:
    connection.tpc_begin("left")


@pytest.mark.parametrize(
    "leave",
    [
        leave_pipeline,
        leave_transaction_block,
        leave_two_phase,
        leave_notifications,
        leave_notifications_in_transaction,
    ],
)
def test_unfinished_blocks(
    database: str, leave: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The next lease works although the last one has not left a block of psycopg's."""
    caplog.set_level(logging.CRITICAL)
    with SyncVectorPool(database, min_size=1, open=True) as pool:
        connection = pool.getconn()
        leave(connection)
        pool.putconn(connection)
        with pool.connection() as connection:
            connection.execute("SELECT 1")
            connection.commit()
