"""Look up pgvector's types with one query, shared by all concurrent callers."""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from nanospan.pool.queries import query, query_async
from nanospan.recorder import process_recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import AsyncConnection, Connection

    from nanospan.pool.vector_types import DatabaseTypes

__all__ = ["look_up", "look_up_async"]

# Finds types by extension rather than by name: the schema need not be on the search_path, and a
# user's table or domain named "vector" is not mistaken for pgvector's type.
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


SYNC_PATIENCE = 1.0
"""Seconds that a synchronous caller waits for another's look-up before it sends the query itself.

The other look-up may need the event loop of the very thread that waits.
"""


async def look_up_async(
    types: DatabaseTypes, connection: AsyncConnection[Any], seconds: float
) -> bool:
    """Look up a database's pgvector types, or wait for a look-up that is already in progress.

    The query takes one round trip. It runs outside a transaction, as BEGIN and ROLLBACK would add
    two more. It is timed as the operation ``pgvector_registration``.

    Args:
        types: The record of the database's types, in which the result is published.
        connection: An idle connection to the database.
        seconds: Maximum time to wait for another caller's look-up. If this call sends the query
            itself, the caller must limit the query's duration.

    Returns:
        True if the query was sent on ``connection``, which therefore works; False if another
        caller's look-up gave the types.

    Raises:
        psycopg.Error: If the query fails.
        TimeoutError: If another caller's look-up does not end within ``seconds``. On Python 3.10,
            ``asyncio.TimeoutError`` or ``concurrent.futures.TimeoutError`` is raised instead.
    """
    while (other := types.join_lookup()) is not None:
        found = await asyncio.wait_for(asyncio.wrap_future(other), seconds)
        if found is not None:
            return False
    with _lookup_ended(types) as asked_at:
        cursor = await query_async(connection, QUERY)
        types.publish(tuple(await cursor.fetchall()), asked_at)
        return True


def look_up(types: DatabaseTypes, connection: Connection[Any], seconds: float) -> bool:
    """Look up pgvector's types on a synchronous connection; see ``look_up_async``."""
    while (other := types.join_lookup()) is not None:
        try:
            found = other.result(min(seconds, SYNC_PATIENCE))
        except concurrent.futures.TimeoutError:
            break
        if found is not None:
            return False
    with _lookup_ended(types) as asked_at:
        types.publish(tuple(query(connection, QUERY).fetchall()), asked_at)
        return True


@contextmanager
def _lookup_ended(types: DatabaseTypes) -> Iterator[float]:
    """Time the block, which queries the server; if it fails, end the look-up without a result.

    Yields:
        The monotonic time, in seconds, at which the look-up began.
    """
    try:
        with process_recorder().track_operation("pgvector_registration", types.metadata):
            yield monotonic()
    except BaseException:
        types.give_up_lookup()
        raise
