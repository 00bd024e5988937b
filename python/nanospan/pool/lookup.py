"""Asking a database for pgvector's types: one query, once for all who need the answer."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from psycopg.rows import tuple_row

from nanospan import get_performance_monitor

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

    from nanospan.pool.vector_types import DatabaseTypes, VectorTypes

__all__ = ["look_up", "look_up_async"]

# By extension rather than by name: the schema need not be on the search_path, and a table or
# domain of the user's named "vector" is not taken for pgvector's.
QUERY = """
SELECT t.typname, t.oid, t.typarray, t.oid::pg_catalog.regtype::text, t.typdelim::text
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_depend d
  ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
  AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.deptype = 'e'
JOIN pg_catalog.pg_type t ON t.oid = d.objid
WHERE e.extname = 'vector' AND t.typname IN ('vector', 'halfvec', 'sparsevec')
ORDER BY t.typname
"""


async def look_up_async(
    types: DatabaseTypes, connection: AsyncConnection[Any], seconds: float
) -> VectorTypes:
    """Asks the server which types it has, unless somebody is asking already.

    One round trip. Leaves the connection without a transaction. Timed as `pgvector_registration`.

    Args:
        types: Where the answer is published.
        connection: An idle connection to that database.
        seconds: How long to wait for another's answer. The query itself is not limited here.

    Returns:
        What is published now.

    Raises:
        psycopg.Error: If the query fails.
        TimeoutError: If another's answer does not come in time (on Python 3.10
            `asyncio.TimeoutError` or `concurrent.futures.TimeoutError`).
    """
    while True:
        flight, leads = types.board()
        if leads:
            break
        if (found := await asyncio.wait_for(asyncio.wrap_future(flight), seconds)) is not None:
            return found
    try:
        asked_at = monotonic()
        with get_performance_monitor().track_operation("pgvector_registration"):
            # Outside a transaction, as BEGIN and ROLLBACK would be two more round trips.
            autocommit = connection.autocommit
            await connection.set_autocommit(True)
            async with connection.cursor(row_factory=tuple_row) as cursor:
                await cursor.execute(QUERY, prepare=False)
                rows = tuple(await cursor.fetchall())
            await connection.set_autocommit(autocommit)
            return types.land(rows, asked_at)
    except BaseException:
        types.crash()
        raise


def look_up(types: DatabaseTypes, connection: Connection[Any], seconds: float) -> VectorTypes:
    """The same for a synchronous connection, see `look_up_async`."""
    while True:
        flight, leads = types.board()
        if leads:
            break
        if (found := flight.result(seconds)) is not None:
            return found
    try:
        asked_at = monotonic()
        with get_performance_monitor().track_operation("pgvector_registration"):
            autocommit = connection.autocommit
            connection.set_autocommit(True)
            with connection.cursor(row_factory=tuple_row) as cursor:
                cursor.execute(QUERY, prepare=False)
                rows = tuple(cursor.fetchall())
            connection.set_autocommit(autocommit)
            return types.land(rows, asked_at)
    except BaseException:
        types.crash()
        raise
