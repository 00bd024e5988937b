"""Reaching a server before a pool is opened for it, so that a failure is a clear error in time."""

from __future__ import annotations

import asyncio
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING

import psycopg

from nanospan.pool.connections import SyncVectorConnection, VectorConnection
from nanospan.pool.errors import PoolOpenError
from nanospan.pool.health import ask, ask_async
from nanospan.pool.tasks import within

if TYPE_CHECKING:
    from nanospan.pool.endpoint import Endpoint

__all__ = ["open_error", "reach_server", "reach_server_async"]

# A pool of psycopg_pool would retry a wrong password for ever, and its callers would see timeouts.
_FAILURES = (psycopg.Error, OSError, asyncio.TimeoutError, TimeoutError)


async def reach_server_async(endpoint: Endpoint, seconds: float) -> None:
    """Connect once to check that the server is there and accepts the credentials.

    Looks the types up on that connection if they are stale.

    Args:
        endpoint: What to connect to, and with which settings.
        seconds: Time limit for all attempts together, if the target has several hosts.

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
    connection = await VectorConnection.connect(
        endpoint.target.conninfo, autocommit=True, **endpoint.connect_parameters()
    )
    try:
        if endpoint.types_are_stale():
            await ask_async(endpoint, connection, deadline - monotonic())
    finally:
        await connection.close()


def reach_server(endpoint: Endpoint, seconds: float) -> None:
    """Do the same without an event loop, see ``reach_server_async``.

    psycopg limits a synchronous attempt to whole seconds, from 2 on.
    """
    deadline = monotonic() + seconds
    try:
        connection = SyncVectorConnection.connect(
            endpoint.target.conninfo, autocommit=True, **endpoint.connect_parameters()
        )
        with closing(connection):
            if endpoint.types_are_stale():
                ask(endpoint, connection, deadline - monotonic())
    except _FAILURES as exc:
        error = open_error(endpoint, exc)
    else:
        return
    raise error


def open_error(endpoint: Endpoint, cause: BaseException) -> PoolOpenError:
    """Return the error to raise instead of ``cause``, after its handler has ended.

    Raised within the handler, it would lead to the original exception, and so to the connection,
    which knows the password.
    """
    target = endpoint.target
    if isinstance(cause, (asyncio.TimeoutError, TimeoutError, psycopg.errors.ConnectionTimeout)):
        seconds = endpoint.config.connection_timeout
        problem = f"no answer within {seconds:g} s (connection_timeout)"
    else:
        problem = target.redact(str(cause)).strip()
    error = PoolOpenError(f"cannot reach {target.masked}: {problem}")
    if isinstance(cause, psycopg.Error):
        error.sqlstate = cause.sqlstate
    return error
