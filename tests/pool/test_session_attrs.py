"""Tests for SessionAttrs with fake connections; the integration tests compare it with libpq."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from nanospan.pool.session_attrs import IS_READ_ONLY, IS_STANDBY, SessionAttrs

NOW = 1000.0


@dataclass
class Connection:
    """A fake libpq connection with the attributes that SessionAttrs reads."""

    target_session_attrs: bytes | None = None
    reported: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def info(self) -> list[Any]:
        names = {b"host": b"h", b"target_session_attrs": self.target_session_attrs}
        return [SimpleNamespace(keyword=name, val=value) for name, value in names.items()]

    def parameter_status(self, name: bytes) -> bytes | None:
        return self.reported.get(name)


class Result:
    """A fake result with one value."""

    def __init__(self, value: bytes | None) -> None:
        self.value = value

    def get_value(self, row: int, column: int) -> bytes | None:
        assert (row, column) == (0, 0)
        return self.value


def attrs(required: str, **reported: str) -> SessionAttrs:
    """Return the requirement of a connection whose server confirmed it at ``NOW``."""
    values = {name.encode(): value.encode() for name, value in reported.items()}
    return SessionAttrs(Connection(reported=values), required, NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, b"", b"any", b"prefer-standby"])
def test_no_requirement(value: bytes | None) -> None:
    """A connection that accepts every server requires nothing."""
    assert SessionAttrs.of(Connection(value), NOW) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("required", "query"),
    [
        ("read-write", IS_READ_ONLY),
        ("read-only", IS_READ_ONLY),
        ("primary", IS_STANDBY),
        ("standby", IS_STANDBY),
    ],
)
def test_requirements(required: str, query: str) -> None:
    """The requirement is what libpq connected with, and held when it connected."""
    found = SessionAttrs.of(Connection(required.encode()), NOW)  # type: ignore[arg-type]
    assert found is not None
    assert (found.required, found.query, found.confirmed_at) == (required, query, NOW)


def test_a_server_that_reports_nothing() -> None:
    """Without reports, as from PostgreSQL 13, only the time of the last answer counts."""
    for unreported in (attrs("read-write"), attrs("read-write", in_hot_standby="on")):
        assert unreported.hold(NOW)
        assert not unreported.hold(NOW + 0.1)


def test_a_standby_that_is_promoted() -> None:
    """A report that contradicts the requirement outweighs an answer, however recent."""
    connection = Connection(reported={b"in_hot_standby": b"on"})
    standby = SessionAttrs(connection, "standby", NOW)  # type: ignore[arg-type]
    assert standby.hold(NOW)
    connection.reported[b"in_hot_standby"] = b"off"
    assert not standby.hold(NOW)


def test_answers() -> None:
    """A right answer is known from when it was asked for; a wrong one or none is an error."""
    asked = attrs("read-write")
    asked.confirm(Result(b"f"), NOW + 5)  # type: ignore[arg-type]
    assert asked.hold(NOW + 5)
    message = "^the session is read-only, but target_session_attrs is read-write$"
    for result in (Result(b"t"), Result(None), None):
        with pytest.raises(psycopg.OperationalError, match=message):
            asked.confirm(result, NOW + 6)  # type: ignore[arg-type]
    assert asked.confirmed_at == NOW + 5
