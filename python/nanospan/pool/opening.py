"""Reaching a server before a pool is opened for it: a clear error in time, or it is there."""

from __future__ import annotations

import asyncio
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING

import psycopg

from nanospan.pool.connections import SyncVectorConnection, VectorConnection
from nanospan.pool.deadline import within
from nanospan.pool.errors import PoolOpenError
from nanospan.pool.health import ask, ask_async

if TYPE_CHECKING:
    from nanospan.pool.policy import Endpoint

__all__ = ["open_error", "reach_server", "reach_server_async"]

# A pool would retry a wrong password for ever, and tell its callers of nothing but a time-out.


async def reach_server_async(endpoint: Endpoint, seconds: float) -> None:
    """Shows with a connection of its own that the server is there and lets us in.

    Looks the types up on that connection if they are unknown or too old.

    Args:
        endpoint: What to connect to, and with which settings.
        seconds: Time limit of all attempts together, if the target has several hosts.

    Raises:
        PoolOpenError: If the server does not answer in time, or refuses.
    """
    try:
        await within(seconds, _reach_async(endpoint, seconds))
    except _FAILURES as exc:
        error = open_error(endpoint, exc)
    else:
        return
    raise error


async def _reach_async(endpoint: Endpoint, seconds: float) -> None:
    deadline = monotonic() + seconds
    parameters = endpoint.connect_parameters()
    conninfo = endpoint.target.conninfo
    connection = await VectorConnection.connect(conninfo, autocommit=True, **parameters)
    try:
        if endpoint.types.stale(endpoint.config.type_cache_ttl):
            await ask_async(endpoint, connection, deadline - monotonic())
    finally:
        await connection.close()


def reach_server(endpoint: Endpoint, seconds: float) -> None:
    """The same without an event loop, see `reach_server_async`.

    psycopg limits a synchronous attempt to whole seconds, from 2 on.
    """
    deadline = monotonic() + seconds
    parameters = endpoint.connect_parameters()
    try:
        connection = SyncVectorConnection.connect(
            endpoint.target.conninfo, autocommit=True, **parameters
        )
        with closing(connection):
            if endpoint.types.stale(endpoint.config.type_cache_ttl):
                ask(endpoint, connection, deadline - monotonic())
    except _FAILURES as exc:
        error = open_error(endpoint, exc)
    else:
        return
    raise error


_FAILURES = (psycopg.Error, OSError, asyncio.TimeoutError, TimeoutError)


def open_error(endpoint: Endpoint, cause: BaseException) -> PoolOpenError:
    """What to raise instead of `cause`, outside its handler.

    The original exception leads to the connection, which knows the password.
    """
    target = endpoint.target
    if isinstance(cause, (asyncio.TimeoutError, TimeoutError, psycopg.errors.ConnectionTimeout)):
        seconds = endpoint.config.connection_timeout
        problem = f"no answer within {seconds:g} s (connection_timeout)"
    else:
        problem = target.redact(str(cause)).strip()
    error = PoolOpenError(f"cannot reach {target.masked}: {problem}")
    error.sqlstate = getattr(cause, "sqlstate", None)
    return error
