"""The state that a lease can leave behind on a connection, and the steps that undo it.

psycopg's attributes are compared and set again without a round trip. Of the session on the server,
the parameters that it reports of its own accord are compared as well, and are reset if they differ.
The connections are those of ``nanospan.pool.connections``.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

from psycopg.pq import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Reset", "SessionState", "has_changed", "restore_attributes", "undo"]

Reset: TypeAlias = "Literal['none', 'discard'] | Callable[[Any], Any]"
"""The setting for resetting a connection's session when a lease ends."""

# Attributes that can change although nothing is sent to the server, and then the others.
_SETTABLE = (
    "row_factory",
    "cursor_factory",
    "server_cursor_factory",
    "_notice_handlers",
    "_notify_handlers",
    "_prepared.prepare_threshold",
    "_prepared.prepared_max",
)
_NAMES = (
    *_SETTABLE,
    "_autocommit",  # even setting this passes through `wait`, as what is sent does
    "_isolation_level",
    "_read_only",
    "_deferrable",
    "_num_transactions",
    "_tpc",
    "_notifies_backlog",
)
_read_settable = attrgetter(*_SETTABLE)
_read = attrgetter(*_NAMES)

# The statement that resets each parameter, by its name as the server reports it. PostgreSQL 18
# reports the search_path, and 14 the default for reading only. A role shows only if it changes
# whether the session is a superuser's.
_RESETS = {
    b"search_path": "RESET search_path",
    b"session_authorization": "RESET SESSION AUTHORIZATION",
    b"is_superuser": "RESET SESSION AUTHORIZATION; RESET ROLE",
    b"default_transaction_read_only": "RESET default_transaction_read_only",
    b"TimeZone": "RESET TimeZone",
    b"DateStyle": "RESET DateStyle",
    b"IntervalStyle": "RESET IntervalStyle",
    b"client_encoding": "RESET client_encoding",
    b"application_name": "RESET application_name",
}


class SessionState(NamedTuple):
    """The state in which a connection is leased.

    Attributes:
        settable: The values of psycopg's attributes that can change without any query.
        attributes: The values of all attributes that a lease can change.
        reported: The parameters that the server reported, in the order of a fixed list; ``None``
            for those that its version does not report.
    """

    settable: tuple[Any, ...]
    attributes: tuple[Any, ...]
    reported: list[bytes | None]

    @classmethod
    def of(cls, connection: Any) -> SessionState:
        """Return the present state of a connection."""
        attributes = tuple(map(_copy, _read(connection)))
        return cls(attributes[: len(_SETTABLE)], attributes, _reported(connection))


def restore_attributes(connection: Any) -> None:
    """Set psycopg's attributes to what they were before the connection's first lease.

    Costs less than a microsecond if none has changed.
    """
    settable, initial, _ = connection.initial
    if (connection.used and _read(connection) != initial) or _read_settable(connection) != settable:
        for path, value in zip(_NAMES, initial, strict=True):
            part, _, name = path.rpartition(".")
            setattr(getattr(connection, part) if part else connection, name, _copy(value))
        connection._begin_statement = b""  # noqa: SLF001 - psycopg derives it from the attributes


def has_changed(connection: Any) -> bool:
    """Return True if the server has reported a parameter that differs from its initial value."""
    return _reported(connection) != cast("SessionState", connection.initial).reported


def undo(
    connection: Any, reset: Reset | None, configure: Callable[[Any], Any] | None
) -> Iterator[str | Callable[[Any], Any]]:
    """Yield the steps that undo what a lease has changed in the session on the server.

    Args:
        connection: The connection, which is not in a transaction.
        reset: The pool's setting.
        configure: The function that configured the connection. It is repeated after everything was
            discarded, as that includes its work.

    Yields:
        Each step: a statement to execute outside a transaction, or a function to call with the
        connection.

    Raises:
        SessionNotRestored: If the parameters that the server reports are not what they were, or a
            function leaves a transaction open.
    """
    if reset == "discard":
        # psycopg would otherwise deallocate, in another round trip, what it believes prepared.
        connection._prepared.clear()  # noqa: SLF001
        connection._prepared._to_flush.clear()  # noqa: SLF001
        yield "DISCARD ALL"
        if configure is not None:
            yield configure
            _check_idle(connection, "configure")
            restore_attributes(connection)  # it may have added its handlers a second time
    elif changed := _changed(connection):
        yield "; ".join(_RESETS[name] for name in changed)
    if changed := _changed(connection):
        names = ", ".join(name.decode() for name in changed)
        raise SessionNotRestored(f"{names} changed, and a reset does not restore it")
    if callable(reset):
        yield reset
        _check_idle(connection, "reset")
        connection.initial = connection.initial._replace(reported=_reported(connection))


class SessionNotRestored(Exception):  # noqa: N818 - never raised to a caller
    """A session is not what it was before the lease, so its connection is replaced."""


def _check_idle(connection: Any, name: str) -> None:
    status = TransactionStatus(connection.pgconn.transaction_status)
    if status != TransactionStatus.IDLE:
        raise SessionNotRestored(f"the {name} function left it in status {status.name}")


def _reported(connection: Any) -> list[bytes | None]:
    return list(map(connection.pgconn.parameter_status, _RESETS))


def _changed(connection: Any) -> list[bytes]:
    now, before = _reported(connection), connection.initial.reported
    return [name for name, new, old in zip(_RESETS, now, before, strict=True) if new != old]


def _copy(value: Any) -> Any:
    """Return a copy of a list or deque, which psycopg modifies in place, and else the value."""
    return value.copy() if isinstance(value, list | deque) else value
