"""Values from PostgreSQL servers: vectors, rows of types, answers to checks of sessions."""

from __future__ import annotations

import contextlib
import struct
from types import SimpleNamespace
from typing import Any

import psycopg

from nanospan.pool.session_attrs import SessionAttrs
from nanospan.pool.vector_values import _LOADERS, ELEMENTS

FOREIGN = (ValueError, struct.error)
"""The errors for a value that is not a vector; psycopg passes them on to the caller."""


def target(data: bytes) -> None:
    """Any bytes give a ValueError or struct.error, or as many numbers as there are."""
    for values in ("list", "numpy"):
        for element in ELEMENTS.values():
            for loader in _LOADERS[values](element):
                with contextlib.suppress(*FOREIGN):
                    found = loader(0, None).load(data)
                    assert len(found) <= len(data)
    keyword, value, *reported = (data.split(b"\n", 3) + [b""] * 3)[:4]
    pgconn: Any = SimpleNamespace(
        info=[SimpleNamespace(keyword=b"target_session_attrs", val=keyword)],
        parameter_status=dict(zip([b"in_hot_standby"], reported, strict=False)).get,
    )
    with contextlib.suppress(UnicodeDecodeError):  # libpq accepts only the known words
        attrs = SessionAttrs.of(pgconn, 0.0)
        if attrs is not None:
            attrs.hold(0.0)
            result: Any = SimpleNamespace(get_value=lambda _row, _column: value)
            with contextlib.suppress(psycopg.OperationalError):
                attrs.confirm(result, 1.0)
