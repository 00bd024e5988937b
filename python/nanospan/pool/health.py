"""Check connections, with a time limit that holds even if the server stops responding."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from nanospan.pool.connections import Hangup, hang_up
from nanospan.pool.lookup import look_up, look_up_async
from nanospan.pool.queries import query, query_async
from nanospan.pool.tasks import within

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from nanospan.pool.connections import SyncVectorConnection, VectorConnection
    from nanospan.pool.endpoint import Endpoint

__all__ = ["CANCEL_GRACE", "ask", "ask_async", "limit_work"]

T = TypeVar("T")

CANCEL_GRACE = 0.5
"""Seconds a check gets to end after its connection is shut down, before it is cancelled."""


async def limit_work(
    connection: VectorConnection, seconds: float, work: Coroutine[Any, Any, T]
) -> T:
    """Return the result of a program's function that uses a connection, within a time limit.

    Shutting the connection down ends a function that waits for the server, but no other, which is
    cancelled soon after.

    Raises:
        asyncio.TimeoutError: If the function takes longer and does not notice the end of the
            connection.
    """
    timer = asyncio.get_running_loop().call_later(seconds, hang_up, connection)
    try:
        return await within(seconds + CANCEL_GRACE, work)
    finally:
        timer.cancel()


async def ask_async(
    endpoint: Endpoint,
    connection: VectorConnection,
    seconds: float,
    *,
    look_up_types: bool = False,
    works: bool = False,
) -> None:
    """Check that an idle connection works, and that its server meets ``target_session_attrs``.

    Also looks up pgvector's type identifiers if they are stale. Takes one round trip, or two if it
    does both. Cancelling the check takes effect at once.

    Args:
        endpoint: The database that the connection belongs to.
        connection: A connection that is not in a transaction. The check does not start one,
            but may close the connection.
        seconds: Time limit for the check.
        look_up_types: Whether to look up the identifiers even if they are not stale.
        works: Whether the connection is known to work, so that nothing else need be asked.

    Raises:
        psycopg.Error: If the connection is broken, the server does not answer in time, or it is
            not what the connection requires.
    """
    question = asyncio.ensure_future(
        _question(endpoint, connection, seconds, look_up_types=look_up_types, works=works)
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
    endpoint: Endpoint,
    connection: VectorConnection,
    seconds: float,
    *,
    look_up_types: bool,
    works: bool,
) -> None:
    if look_up_types or endpoint.types_are_stale():
        works |= await look_up_async(endpoint.types, connection, seconds)
    if (attrs := connection.session_attrs) is not None:
        asked_at = monotonic()
        attrs.confirm((await query_async(connection, attrs.query)).pgresult, asked_at)
    elif not works:
        await query_async(connection, "")


def ask(
    endpoint: Endpoint,
    connection: SyncVectorConnection,
    seconds: float,
    *,
    look_up_types: bool = False,
    works: bool = False,
) -> None:
    """Check a synchronous connection; see ``ask_async``."""
    with Hangup(connection, seconds):
        if look_up_types or endpoint.types_are_stale():
            works |= look_up(endpoint.types, connection, seconds)
        if (attrs := connection.session_attrs) is not None:
            asked_at = monotonic()
            attrs.confirm(query(connection, attrs.query).pgresult, asked_at)
        elif not works:
            query(connection, "")
