"""Asking a server whether a connection works, within a time that a silent server cannot exceed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from psycopg_pool import AsyncConnectionPool, ConnectionPool

from nanospan.pool.connections import Hangup, hang_up
from nanospan.pool.lookup import look_up, look_up_async

if TYPE_CHECKING:
    from nanospan.pool.connections import SyncVectorConnection, VectorConnection
    from nanospan.pool.endpoint import Endpoint

__all__ = ["ask", "ask_async"]

CANCEL_GRACE = 0.5
"""Seconds after hanging up until a question is cancelled, as it then waits for something else."""


async def ask_async(
    endpoint: Endpoint, connection: VectorConnection, seconds: float, *, look_up_types: bool = False
) -> None:
    """Ask the server on an idle connection whether it works; for stale types as well.

    One round trip.

    Args:
        endpoint: The database.
        connection: A connection outside a transaction. It stays so, or is closed.
        seconds: Time limit. A cancellation takes effect at once.
        look_up_types: Whether to ask for the types even if they are not stale.

    Raises:
        psycopg.Error: If the server does not answer, or not in time.
    """
    question = asyncio.ensure_future(
        _question(endpoint, connection, seconds, look_up_types=look_up_types)
    )
    timer = asyncio.get_running_loop().call_later(seconds, hang_up, connection)
    try:
        await asyncio.shield(question)
    finally:
        timer.cancel()
        if not question.done():
            hang_up(connection)
            await asyncio.wait({question}, timeout=CANCEL_GRACE)
            question.cancel()


async def _question(
    endpoint: Endpoint, connection: VectorConnection, seconds: float, *, look_up_types: bool
) -> None:
    if look_up_types or endpoint.types_are_stale():
        await look_up_async(endpoint.types, connection, seconds)
    else:
        await AsyncConnectionPool.check_connection(connection)


def ask(
    endpoint: Endpoint,
    connection: SyncVectorConnection,
    seconds: float,
    *,
    look_up_types: bool = False,
) -> None:
    """Ask on a synchronous connection, see ``ask_async``."""
    with Hangup(connection, seconds):
        if look_up_types or endpoint.types_are_stale():
            look_up(endpoint.types, connection, seconds)
        else:
            ConnectionPool.check_connection(connection)
