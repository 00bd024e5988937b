"""pgvector's types, looked up once per database and shared by every connection to it.

pgvector's own `register_vector_async` asks the server 12 times on every new connection, and leaves
classes behind each time that psycopg never frees. Here one query gives the object identifiers,
one `AdaptersMap` is built from them, and connections start as copy-on-write copies of it.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import psycopg
from pgvector.psycopg.bit import register_bit_info
from pgvector.psycopg.halfvec import register_halfvec_info
from pgvector.psycopg.sparsevec import register_sparsevec_info
from pgvector.psycopg.vector import register_vector_info
from psycopg.adapt import AdaptersMap, PyFormat
from psycopg.types import TypeInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from psycopg import BaseConnection

__all__ = ["DatabaseTypes", "TypeCache", "VectorTypes"]

logger = logging.getLogger(__name__)

# pgvector takes a connection, of which it uses the `adapters` attribute alone.
_REGISTER: dict[str, Callable[[BaseConnection[Any], TypeInfo], None]] = {
    "vector": register_vector_info,
    "halfvec": register_halfvec_info,
    "sparsevec": register_sparsevec_info,
}

Row: TypeAlias = "tuple[str, int, int, str, str]"

ABSENCE_TTL = 1.0
"""Seconds for which a database is believed to lack the extension."""


@dataclass(frozen=True)
class VectorTypes:
    """What one look-up found, ready to connect with: `connect(..., context=types.adapters)`.

    Published objects are shared by connections of all threads and never changed; a change on the
    server makes a new object with the next generation.

    Attributes:
        generation: Counts the changes seen in a database, from 1.
        rows: Name, identifier, array identifier, SQL name and delimiter of each type; empty
            where the extension is missing.
        adapters: psycopg's default adapters and those of the types.
    """

    generation: int
    rows: tuple[Row, ...]
    adapters: AdaptersMap

    @classmethod
    def build(cls, generation: int, rows: tuple[Row, ...]) -> VectorTypes:
        """Registers the types of `rows` in a new map."""
        types = cls(generation, rows, AdaptersMap(psycopg.adapters))
        types.register(types.adapters)
        if numpy := sys.modules.get("numpy"):
            # Registered by name; resolved here because the first use would write to the map.
            for fmt in PyFormat if rows else ():
                types.adapters.get_dumper(numpy.ndarray, fmt)
        return types

    def register(self, adapters: AdaptersMap) -> None:
        """Adds the types to a map that is not shared."""
        if not self.rows:
            return
        context = cast("BaseConnection[Any]", _Adaptable(adapters))
        for name, oid, array_oid, regtype, delimiter in self.rows:
            info = TypeInfo(name, oid, array_oid, regtype=regtype, delimiter=delimiter)
            _REGISTER[name](context, info)
        # A core type: the same identifiers in every database.
        register_bit_info(context, psycopg.adapters.types["bit"])

    def known_to(self, adapters: AdaptersMap) -> bool:
        """Whether `adapters` has exactly these types under these identifiers."""
        return all(
            (info := adapters.types.get(oid)) is not None and info.name == name
            for name, oid, *_ in self.rows
        )


@dataclass(frozen=True)
class _Adaptable:
    adapters: AdaptersMap
    connection: None = None


class DatabaseTypes:
    """The published `VectorTypes` of one database, as seen by one role.

    Does no I/O: `lookup` asks the server and brings the answer here. Safe to use from several
    threads and event loops: `current` is replaced, never changed.
    """

    def __init__(self, name: str) -> None:
        """Begins without knowing any; `name` is shown in the log."""
        self.name = name
        self.current: VectorTypes | None = None
        self._checked_at = -math.inf
        self._doubted_at = 0.0
        self._lock = threading.Lock()
        self._flight: Future[VectorTypes | None] | None = None
        self._warned = False

    def stale(self, ttl: float, now: float | None = None) -> bool:
        """Whether the server should be asked: it never was, `ttl` seconds passed, or a doubt came.

        That the extension is missing is believed for a second at most.
        """
        current = self.current
        checked_at = self._checked_at
        if current is None or checked_at <= self._doubted_at:
            return True
        age = (monotonic() if now is None else now) - checked_at
        return age > (ttl if current.rows else min(ttl, ABSENCE_TTL))

    def distrust(self) -> None:
        """Makes the next lease or connection ask the server."""
        self._doubted_at = monotonic()

    def board(self) -> tuple[Future[VectorTypes | None], bool]:
        """Joins the look-up under way, or begins one.

        Returns:
            Its outcome, `None` if it fails; and whether the caller is to look up, and to end it
            with `land` or `crash`.
        """
        with self._lock:
            if self._flight is not None:
                return self._flight, False
            self._flight = Future()
            # From here on, a waiting task that is cancelled cannot cancel it for the others.
            self._flight.set_running_or_notify_cancel()
            return self._flight, True

    def land(self, rows: tuple[Row, ...], asked_at: float) -> VectorTypes:
        """Publishes the answer of a look-up if it is a new one.

        Args:
            rows: What the server answered.
            asked_at: When it was asked, of the monotonic clock.

        Returns:
            What is published now.
        """
        with self._lock:
            before = self.current
            if before is None or before.rows != rows:
                self.current = VectorTypes.build(before.generation + 1 if before else 1, rows)
            current = cast("VectorTypes", self.current)
            self._checked_at = max(self._checked_at, asked_at)
            warn = not rows and not self._warned
            self._warned = not rows
            flight, self._flight = self._flight, None
        if before is not None and before is not current:
            logger.info("types of pgvector changed in %s; renewing connections", self.name)
        if warn:
            logger.warning(
                'no extension "vector" in %s: vectors are read as text until it is created',
                self.name,
            )
        if flight is not None:
            flight.set_result(current)
        return current

    def crash(self) -> None:
        """Ends a look-up without an answer; who waits for it will look up."""
        with self._lock:
            flight, self._flight = self._flight, None
        if flight is not None:
            flight.set_result(None)


class TypeCache:
    """The types of all databases this process talks to. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begins empty."""
        self._databases: dict[Hashable, DatabaseTypes] = {}

    def of(self, key: Hashable, name: str) -> DatabaseTypes:
        """The types of a database.

        Args:
            key: Identifies cluster, database and role.
            name: How to call the database in the log; without secrets.
        """
        return self._databases.setdefault(key, DatabaseTypes(name))

    def clear(self) -> None:
        """Forgets every database, so that the next connection asks again."""
        self._databases.clear()
