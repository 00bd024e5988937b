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
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import psycopg
from pgvector.psycopg.bit import register_bit_info
from pgvector.psycopg.halfvec import register_halfvec_info
from pgvector.psycopg.sparsevec import register_sparsevec_info
from pgvector.psycopg.vector import register_vector_info
from psycopg.adapt import AdaptersMap, PyFormat
from psycopg.rows import tuple_row
from psycopg.types import TypeInfo

from perfuse import get_performance_monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from psycopg import AsyncConnection, BaseConnection

__all__ = ["DatabaseTypes", "TypeCache", "VectorTypes"]

logger = logging.getLogger(__name__)

# pgvector takes a connection, of which it uses the `adapters` attribute alone.
_REGISTER: dict[str, Callable[[BaseConnection[Any], TypeInfo], None]] = {
    "vector": register_vector_info,
    "halfvec": register_halfvec_info,
    "sparsevec": register_sparsevec_info,
}

# By extension rather than by name: the schema need not be on the search_path, and a table or
# domain of the user's named "vector" is not taken for pgvector's.
_LOOKUP = """
SELECT t.typname, t.oid, t.typarray, t.oid::pg_catalog.regtype::text, t.typdelim::text
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_depend d
  ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
  AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.deptype = 'e'
JOIN pg_catalog.pg_type t ON t.oid = d.objid
WHERE e.extname = 'vector' AND t.typname IN ('vector', 'halfvec', 'sparsevec')
ORDER BY t.typname
"""


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
    rows: tuple[tuple[str, int, int, str, str], ...]
    adapters: AdaptersMap

    @classmethod
    def build(
        cls, generation: int, rows: tuple[tuple[str, int, int, str, str], ...]
    ) -> VectorTypes:
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

    Safe to use from several threads and event loops: `current` is replaced, never changed.
    """

    def __init__(self, name: str) -> None:
        """Begins without knowing any; `name` is shown in the log."""
        self.name = name
        self.current: VectorTypes | None = None
        self._checked_at = 0.0
        self._publishing = threading.Lock()
        self._warned = False

    def stale(self, ttl: float) -> bool:
        """Whether the server should be asked, because it never was or `ttl` seconds have passed.

        That the extension is missing is believed for a second at most.
        """
        current = self.current
        if current is None:
            return True
        age = monotonic() - self._checked_at
        return age > (ttl if current.rows else min(ttl, ABSENCE_TTL))

    def distrust(self) -> None:
        """Makes the next lease or connection ask the server."""
        self._checked_at = -math.inf

    async def refresh(self, connection: AsyncConnection[Any]) -> VectorTypes:
        """Asks the server once, and publishes the answer if it is a new one.

        Leaves the connection without a transaction. Timed as `pgvector_registration`.

        Args:
            connection: An idle connection to this database.

        Returns:
            What is published now.

        Raises:
            psycopg.Error: If the query fails.
        """
        asked_at = monotonic()
        with get_performance_monitor().track_operation("pgvector_registration"):
            async with connection.cursor(row_factory=tuple_row) as cursor:
                await cursor.execute(_LOOKUP, prepare=False)
                rows = tuple(await cursor.fetchall())
            if not connection.autocommit:
                await connection.rollback()
            current = self._publish(rows)
        # Only now: until the answer is there, others with an old connection must ask, too.
        self._checked_at = asked_at
        return current

    def _publish(self, rows: tuple[Any, ...]) -> VectorTypes:
        with self._publishing:
            current = self.current
            if current is None or current.rows != rows:
                if current is not None:
                    logger.info("types of pgvector changed in %s; renewing connections", self.name)
                generation = current.generation + 1 if current else 1
                current = self.current = VectorTypes.build(generation, rows)
            warn = not rows and not self._warned
            self._warned = not rows
        if warn:
            logger.warning(
                'no extension "vector" in %s: vectors are read as text until it is created',
                self.name,
            )
        return current


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
