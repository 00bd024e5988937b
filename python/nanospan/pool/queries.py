"""Execute a pool's own queries on a connection that is not in a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.rows import tuple_row

if TYPE_CHECKING:
    from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
    from typing_extensions import LiteralString

__all__ = ["query", "query_async"]


async def query_async(
    connection: AsyncConnection[Any], statement: LiteralString
) -> AsyncCursor[tuple[Any, ...]]:
    """Execute a statement without a transaction and without preparing it; return the cursor."""
    autocommit = connection.autocommit
    await connection.set_autocommit(True)
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(statement, prepare=False)
    await connection.set_autocommit(autocommit)
    return cursor


def query(connection: Connection[Any], statement: LiteralString) -> Cursor[tuple[Any, ...]]:
    """Execute a statement on a synchronous connection; see ``query_async``."""
    autocommit = connection.autocommit
    connection.set_autocommit(True)
    cursor = connection.cursor(row_factory=tuple_row)
    cursor.execute(statement, prepare=False)
    connection.set_autocommit(autocommit)
    return cursor
