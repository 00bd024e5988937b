"""Opening a pool: at once right, or a clear error in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg

from perfuse.pool.connections import VectorConnection, VectorPool, connect_parameters
from perfuse.pool.deadline import within
from perfuse.pool.errors import PoolOpenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfuse.pool.config import ConnectionPoolConfig
    from perfuse.pool.conninfo import Target
    from perfuse.pool.vector_types import DatabaseTypes

__all__ = ["open_pool", "reach_server"]


async def open_pool(
    target: Target,
    config: ConnectionPoolConfig,
    types: DatabaseTypes,
    on_failed_lease: Callable[[], None],
) -> VectorPool:
    """Opens a pool in the running loop once the server has answered.

    The pool itself would retry a wrong password for minutes, and tell its callers of nothing but a
    time-out. Its connections are made in the background.

    Args:
        target: What to connect to.
        config: The settings.
        types: The types of that database.
        on_failed_lease: Passed on to the pool.

    Returns:
        An open pool.

    Raises:
        PoolOpenError: If the server does not answer within `connection_timeout`, or refuses.
    """
    await reach_server(target, config, types, config.connection_timeout)
    pool = VectorPool(target, config, types, on_failed_lease)
    await pool.open()
    return pool


async def reach_server(
    target: Target, config: ConnectionPoolConfig, types: DatabaseTypes, seconds: float
) -> None:
    """Shows with a connection of its own that the server is there and lets us in.

    Looks the types up on that connection if they are unknown or too old.

    Args:
        target: What to connect to.
        config: The settings.
        types: The types of that database.
        seconds: Time limit of all attempts together, if the target has several hosts.

    Raises:
        PoolOpenError: If the server does not answer in time, or refuses.
    """
    sqlstate: str | None = None
    try:
        await within(seconds, _connect_once(target, config, types))
    except (asyncio.TimeoutError, psycopg.errors.ConnectionTimeout):
        problem = f"no answer within {config.connection_timeout:g} s (connection_timeout)"
    except (psycopg.Error, OSError) as exc:
        problem = target.redact(str(exc)).strip()
        sqlstate = getattr(exc, "sqlstate", None)
    else:
        return
    # Raised outside the handlers: the original exception leads to the connection and its password.
    error = PoolOpenError(f"cannot reach {target.masked}: {problem}")
    error.sqlstate = sqlstate
    raise error


async def _connect_once(target: Target, config: ConnectionPoolConfig, types: DatabaseTypes) -> None:
    parameters = connect_parameters(target, config)
    connection = await VectorConnection.connect(target.conninfo, autocommit=True, **parameters)
    async with connection:
        if types.stale(config.type_cache_ttl):
            await types.refresh(connection)
