"""Asking a server whether a connection works, within a time that a silent one cannot exceed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from psycopg_pool import AsyncConnectionPool, ConnectionPool

from nanospan.pool.connections import Hangup, hang_up
from nanospan.pool.lookup import look_up, look_up_async

if TYPE_CHECKING:
    from nanospan.pool.connections import SyncVectorConnection, VectorConnection
    from nanospan.pool.policy import Endpoint

__all__ = ["ask", "ask_async"]

LAST_STEPS = 0.5
"""Seconds after which a question that was hung up on is cancelled: it waits for something else."""


async def ask_async(
    endpoint: Endpoint, connection: VectorConnection, seconds: float, *, look_up_types: bool = False
) -> None:
    """Asks the server on an idle connection; for the types, too, if their time has come.

    One round trip.

    Args:
        endpoint: What the connection is to.
        connection: Without a transaction. Afterwards as before, or closed.
        seconds: After which to give up. A cancellation is obeyed at once.
        look_up_types: Whether to ask for the types in any case.

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
            await asyncio.wait({question}, timeout=LAST_STEPS)
            question.cancel()


async def _question(
    endpoint: Endpoint, connection: VectorConnection, seconds: float, *, look_up_types: bool
) -> None:
    if look_up_types or endpoint.types.stale(endpoint.config.type_cache_ttl):
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
    """The same for a synchronous connection, see `ask_async`."""
    with Hangup(connection, seconds):
        if look_up_types or endpoint.types.stale(endpoint.config.type_cache_ttl):
            look_up(endpoint.types, connection, seconds)
        else:
            ConnectionPool.check_connection(connection)
