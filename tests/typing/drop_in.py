"""Code with the types of psycopg_pool, which mypy checks on the pools but which is never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.rows import DictRow, Row, TupleRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, NullConnectionPool
from typing_extensions import assert_type

from nanospan.pool import SyncVectorNullPool, SyncVectorPool, VectorNullPool, VectorPool


class OwnConnection(Connection[Row]):
    """A user's class of connections."""

    def greet(self) -> str:
        return "hello"


def of_tuples(pool: ConnectionPool) -> None:
    with pool.connection(timeout=1) as connection:
        connection.execute("SELECT 1")


def of_dicts(pool: ConnectionPool[Connection[DictRow]]) -> Iterator[Connection[DictRow]]:
    with pool.connection() as connection:
        yield connection


def configure(connection: Connection[DictRow]) -> None:
    connection.autocommit = True


async def configure_async(connection: AsyncConnection[DictRow]) -> None:
    await connection.set_autocommit(True)


def failed(pool: ConnectionPool[Any]) -> None:
    print(pool.name)


plain = SyncVectorPool("dbname=shop", min_size=1, check=SyncVectorPool.check_connection)
of_tuples(plain)
with plain.connection() as tuples:
    assert_type(tuples, Connection[TupleRow])
leased = plain.getconn(timeout=1)
assert_type(leased, Connection[TupleRow])
plain.putconn(leased)

dicts: ConnectionPool[Connection[DictRow]] = SyncVectorPool[Connection[DictRow]](
    "dbname=shop",
    connection_class=Connection[DictRow],
    kwargs={"row_factory": dict_row},
    configure=configure,
    check=ConnectionPool.check_connection,
    reset=configure,
    reconnect_failed=failed,
    close_returns=True,
)
of_dicts(dicts)
inferred = SyncVectorPool("dbname=shop", configure=configure)
of_dicts(inferred)
with inferred.connection() as rows:
    assert_type(rows, Connection[DictRow])
with SyncVectorPool(lambda: "dbname=shop", connection_class=OwnConnection[DictRow]) as own:
    assert_type(own, SyncVectorPool[OwnConnection[DictRow]])
    with own.connection() as connection:
        print(connection.greet(), connection.execute("SELECT 1").fetchone())
null: NullConnectionPool[Connection[DictRow]] = SyncVectorNullPool("", configure=configure)

SyncVectorPool("", configure=configure_async)  # type: ignore[arg-type]
SyncVectorPool("", check=lambda connection: connection.greet())  # type: ignore[attr-defined]
SyncVectorPool("", connection_class=AsyncConnection)  # type: ignore[type-var]


async def asynchronous() -> None:
    async with VectorPool(
        "dbname=shop", kwargs={"row_factory": dict_row}, configure=configure_async, open=False
    ) as pool:
        of_type: AsyncConnectionPool[AsyncConnection[DictRow]] = pool
        async with of_type.connection() as connection:
            assert_type(connection, AsyncConnection[DictRow])
        connection = await pool.getconn()
        await pool.putconn(connection)
    without = VectorNullPool("dbname=shop", max_size=0)
    async with without.connection(label="recall") as tuples:
        assert_type(tuples, AsyncConnection[TupleRow])
