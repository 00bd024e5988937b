"""Connect to a server before opening a pool for it, so that failures are reported promptly.

A pool would keep retrying, even with a wrong password, and its callers would only see timeouts.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING

import psycopg
from psycopg import AsyncConnection, Connection

from nanospan.pool.connecting import find_route, find_route_async
from nanospan.pool.errors import OUTAGE, PoolOpenError
from nanospan.pool.health import ask, ask_async
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    from nanospan.pool.endpoint import Endpoint

__all__ = ["open_error", "reach_server", "reach_server_async"]


async def reach_server_async(endpoint: Endpoint, seconds: float) -> None:
    """Connect once to check that the server is reachable, accepts the credentials and answers.

    If the database's pgvector types are stale, look them up on that connection. If they are not,
    ask the server nevertheless: a pooler accepts connections to a server that is down.

    Args:
        endpoint: The database to connect to, with its settings.
        seconds: Time limit, which the hosts share if there are several. A ``connect_timeout`` of
            the connection string applies to each host instead.

    Raises:
        PoolOpenError: If the server refuses the connection or does not answer in time.
    """
    try:
        await _reach_async(endpoint, seconds)
    except (*OUTAGE, UnicodeError) as exc:  # the latter for a host name that DNS cannot have
        error = open_error(endpoint, exc)
    else:
        return
    raise error


async def _reach_async(endpoint: Endpoint, seconds: float) -> None:
    deadline = monotonic() + seconds
    route = await find_route_async(endpoint, seconds)
    kind = endpoint.connection_class(AsyncConnection)
    connection = await route.connect_async(kind)
    try:
        left = seconds if route.has_own_limit else deadline - monotonic()
        await ask_async(endpoint, connection, left)
    finally:
        await connection.close()


def reach_server(endpoint: Endpoint, seconds: float) -> None:
    """Connect to the server once, synchronously; see ``reach_server_async``."""
    deadline = monotonic() + seconds
    try:
        route = find_route(endpoint, seconds)
        connection = route.connect(endpoint.connection_class(Connection))
        with closing(connection):
            left = seconds if route.has_own_limit else deadline - monotonic()
            ask(endpoint, connection, left)
    except (*OUTAGE, UnicodeError) as exc:
        error = open_error(endpoint, exc)
    else:
        return
    raise error


def open_error(endpoint: Endpoint, cause: BaseException) -> PoolOpenError:
    """Return the error to raise in place of ``cause``.

    Raise it after the ``except`` block that caught ``cause``. Raised inside that block, it would
    refer to ``cause``, which refers to the connection, which holds the password.
    """
    target = endpoint.target
    if isinstance(cause, (asyncio.TimeoutError, TimeoutError, psycopg.errors.ConnectionTimeout)):
        seconds = endpoint.config.connection_timeout
        problem = f"no answer within {seconds:g} s (connection_timeout)"
    else:
        problem = endpoint.redact(str(cause)).strip()
    error = PoolOpenError(f"cannot reach {shorten(target.masked)}: {problem}")
    if isinstance(cause, psycopg.Error):
        error.sqlstate = cause.sqlstate
    return error
