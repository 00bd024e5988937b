"""Errors of the pool managers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg_pool import PoolTimeout, TooManyRequests

if TYPE_CHECKING:
    from nanospan.pool.lease_table import LeaseHolder

__all__ = ["ConninfoError", "PoolExhausted", "PoolOpenError", "PoolOverloaded"]


class PoolOpenError(psycopg.OperationalError):
    """A pool could not be opened, or an open one no longer reaches its server.

    The message names the masked connection string and what the server or the network said. It
    carries neither the password nor the original exception: psycopg's exceptions refer to the
    connection they come from, which knows the password.
    """


class ConninfoError(psycopg.ProgrammingError, ValueError):
    """A connection string is invalid; the message does not quote it.

    libpq's own message quotes the part that it could not read, which may belong to a password.
    """


class PoolExhausted(PoolTimeout):
    """No connection could be leased in time; the message says who holds them and what to change.

    Attributes:
        pool: The masked connection string.
        min_size: Connections the pool keeps open.
        max_size: Connections it opens at most.
        leased: Connections that were leased.
        waiting: Leases that were waiting, not counting the one that failed.
        holders: The longest leases, longest first.
    """

    pool: str = ""
    min_size: int = 0
    max_size: int = 0
    leased: int = 0
    waiting: int = 0
    holders: tuple[LeaseHolder, ...] = ()


class PoolOverloaded(PoolExhausted, TooManyRequests):
    """The pool is exhausted, and ``max_waiting`` leases wait already; raised without waiting."""
