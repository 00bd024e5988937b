"""Errors raised by the pools and their managers."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING

import psycopg
from psycopg_pool import PoolTimeout, TooManyRequests

if TYPE_CHECKING:
    from nanospan.pool.lease_table import LeaseHolder

__all__ = [
    "OUTAGE",
    "ConninfoError",
    "ConninfoSourceError",
    "PoolExhausted",
    "PoolOpenError",
    "PoolOverloaded",
]

OUTAGE = (
    psycopg.Error,
    OSError,
    TimeoutError,
    asyncio.TimeoutError,
    concurrent.futures.TimeoutError,
)
"""What servers and networks cause. Any other exception is a fault of a program: waiting for its end
would be in vain, so it is raised at once."""


class PoolOpenError(psycopg.OperationalError):
    """A pool could not be opened, or an open pool can no longer reach its server.

    The message contains the masked connection string and the error from the server or network.
    This exception contains no password and does not refer to the original psycopg exception,
    because psycopg's exceptions refer to their connection, which holds the password.
    """


class ConninfoError(psycopg.ProgrammingError, ValueError):
    """A connection string is invalid; the message does not quote it.

    libpq's own message quotes the part it could not parse, which may be part of a password.
    """


class ConninfoSourceError(psycopg.OperationalError):
    """A function could not return the connection string, or the arguments, for a connection.

    The pool tries again, as it does if the server cannot be reached: the service that the function
    asks may be back by then.
    """


class PoolExhausted(PoolTimeout):
    """No connection could be leased in time; the message lists lease holders and suggests a fix.

    Attributes:
        pool: The pool's masked connection string.
        min_size: Number of connections the pool keeps open.
        max_size: Maximum number of open connections.
        leased: Number of connections that were leased.
        waiting: Number of leases that were waiting, excluding the failed one.
        holders: The longest-held leases, longest first.
    """

    pool: str = ""
    min_size: int = 0
    max_size: int = 0
    leased: int = 0
    waiting: int = 0
    holders: tuple[LeaseHolder, ...] = ()


class PoolOverloaded(PoolExhausted, TooManyRequests):
    """A lease failed immediately because ``max_waiting`` leases were already waiting."""
