"""Errors of the pool manager."""

from __future__ import annotations

import psycopg

__all__ = ["ConninfoError", "PoolOpenError"]


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
