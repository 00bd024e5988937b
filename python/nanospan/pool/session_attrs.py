"""Check that a connection's server still is what libpq's ``target_session_attrs`` asks for.

libpq checks that once, when connecting. A standby that is promoted, or a primary that is made
read-only, keeps its connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import psycopg

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult
    from typing_extensions import Self

__all__ = ["SessionAttrs"]

IS_READ_ONLY = "SELECT pg_catalog.current_setting('transaction_read_only') = 'on'"
IS_STANDBY = "SELECT pg_catalog.pg_is_in_recovery()"


class _Requirement(NamedTuple):
    query: str
    answer: bytes
    reports: tuple[bytes, ...]
    """Settings that the server reports, from PostgreSQL 14 on; if one is on, the answer is true."""
    violation: str


_READ_ONLY = (b"in_hot_standby", b"default_transaction_read_only")
_STANDBY = (b"in_hot_standby",)
_REQUIREMENTS = {
    "read-write": _Requirement(IS_READ_ONLY, b"f", _READ_ONLY, "the session is read-only"),
    "read-only": _Requirement(IS_READ_ONLY, b"t", _READ_ONLY, "the session is not read-only"),
    "primary": _Requirement(IS_STANDBY, b"f", _STANDBY, "the server is a standby"),
    "standby": _Requirement(IS_STANDBY, b"t", _STANDBY, "the server is not a standby"),
}


class SessionAttrs:
    """One connection's requirement of its server, and when the server last confirmed it.

    Attributes:
        required: ``read-write``, ``read-only``, ``primary`` or ``standby``.
        query: A query with one boolean for ``confirm``. Run it outside a transaction.
        confirmed_at: Monotonic time, in seconds, as of which the server was known to be right.
    """

    __slots__ = (
        "_answer",
        "_reported",
        "_reports",
        "_violation",
        "confirmed_at",
        "query",
        "required",
    )

    def __init__(self, pgconn: PGconn, required: str, now: float) -> None:
        self.required = required
        self.query, self._answer, self._reports, self._violation = _REQUIREMENTS[required]
        self._reported = pgconn.parameter_status
        self.confirmed_at = now

    @classmethod
    def of(cls, pgconn: PGconn, now: float) -> Self | None:
        """Return what a new connection requires of its server; ``None`` if any server will do.

        Args:
            pgconn: The connection. Its ``target_session_attrs`` may come from the connection
                string, libpq's environment variable or a service file. For ``prefer-standby``,
                psycopg first looks for a ``standby``.
            now: Monotonic time, in seconds, at which libpq checked the server.
        """
        for option in pgconn.info:
            if option.keyword == b"target_session_attrs":
                required = (option.val or b"").decode()
                return cls(pgconn, required, now) if required in _REQUIREMENTS else None
        return None

    def hold(self, since: float) -> bool:
        """Return True if the server is known to be right, without asking it.

        Args:
            since: Monotonic time, in seconds, at or after which the server must have confirmed it.
        """
        if self.confirmed_at < since:
            return False
        answer = b"f"
        for name in self._reports:
            value = self._reported(name)
            if value is None:
                return True
            if value == b"on":
                answer = b"t"
        return answer == self._answer

    def confirm(self, result: PGresult | None, asked_at: float) -> None:
        """Record the server's answer to ``query``.

        Args:
            result: The result of the query.
            asked_at: Monotonic time, in seconds, at which the query was sent.

        Raises:
            psycopg.OperationalError: If the server is not what the connection requires.
        """
        answer = None if result is None else result.get_value(0, 0)
        if answer != self._answer:
            raise psycopg.OperationalError(
                f"{self._violation}, but target_session_attrs is {self.required}"
            )
        self.confirmed_at = asked_at
