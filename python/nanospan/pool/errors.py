"""Errors of the pool managers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg_pool import PoolTimeout, TooManyRequests

if TYPE_CHECKING:
    from nanospan.pool.leases import LeaseHolder

__all__ = ["ConninfoError", "PoolExhausted", "PoolOpenError", "PoolOverloaded"]


class PoolOpenError(psycopg.OperationalError):
    """A pool could not be opened, or an open one no longer reaches its server.

    The message names the masked connection string and what the server or the network said. It
    carries neither the password nor the original exception: psycopg's exceptions hold on to the
    connection they come from, which knows the password.
    """


class ConninfoError(psycopg.ProgrammingError, ValueError):
    """A connection string that cannot be used; the message does not quote it.

    libpq's own words quote the part it could not read, and that part may belong to a password.
    """


class PoolExhausted(PoolTimeout):
    """No connection could be leased in time; the message says who holds them and what to change.

    Attributes:
        pool: The masked connection string.
        min_size: Connections the pool keeps open.
        max_size: Connections it opens at most.
        leased: Connections that were leased.
        waiting: Leases that were waiting, the failed one not included.
        holders: Who held the leases, the longest first.
    """

    pool: str = ""
    min_size: int = 0
    max_size: int = 0
    leased: int = 0
    waiting: int = 0
    holders: tuple[LeaseHolder, ...] = ()


class PoolOverloaded(PoolExhausted, TooManyRequests):
    """The same at once, without waiting: `max_waiting` leases were waiting already."""
