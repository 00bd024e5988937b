"""pgvector's types, looked up once per database and shared by all connections to it.

pgvector's own ``register_vector_async`` takes 12 round trips on every new connection, and each time
creates classes that psycopg never frees. Here, one query returns the types' object identifiers, one
``AdaptersMap`` is built from them, and each connection starts with a copy-on-write copy of it.
"""

from __future__ import annotations

import itertools
import logging
import math
import sys
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import psycopg
from psycopg.adapt import AdaptersMap, PyFormat
from psycopg.types import TypeInfo

from nanospan.pool.vector_values import use_values
from nanospan.values.messages import shorten

try:
    from pgvector.psycopg import register as _support
except ImportError:  # pgvector 0.2 has one module, for dense vectors only
    from pgvector import psycopg as _support  # type: ignore[no-redef]

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from psycopg import BaseConnection

    from nanospan.pool.vector_values import VectorValues

__all__ = ["DatabaseTypes", "TypeCache", "VectorTypes"]

logger = logging.getLogger(__name__)

_Register: TypeAlias = "Callable[[BaseConnection[Any], TypeInfo], None]"

# pgvector's functions take a connection, but use only its `adapters` attribute.
_REGISTER: dict[str, _Register] = {
    name: getattr(_support, f"register_{name}_info")
    for name in ("vector", "halfvec", "sparsevec", "bit")
    if hasattr(_support, f"register_{name}_info")
}

Row: TypeAlias = "tuple[str, int, int, str, str]"

_IN_PROGRESS = "in progress"
ABSENCE_TTL = 1.0
"""Seconds before nanospan checks again whether a missing pgvector extension was created."""


@dataclass(frozen=True)
class VectorTypes:
    """The pgvector types found by a look-up; pass ``adapters`` as ``context`` to ``connect``.

    Published objects never change, so connections in all threads share them. When the types change
    on the server, a new object with the next generation number is published.

    Attributes:
        generation: Sequence number of this object; each database's numbers start at 1.
        rows: The name, OID, array type's OID, SQL name and delimiter of each type; empty if the
            database lacks the pgvector extension.
        adapters: psycopg's default adapters plus adapters for these types.
    """

    generation: int
    rows: tuple[Row, ...]
    adapters: AdaptersMap
    _variants: dict[VectorValues, AdaptersMap] = field(default_factory=dict)

    @classmethod
    def build(cls, generation: int, rows: tuple[Row, ...]) -> VectorTypes:
        """Create a ``VectorTypes``, registering the types in ``rows`` in a new adapters map."""
        types = cls(generation, rows, AdaptersMap(psycopg.adapters))
        types.register(types.adapters)
        if numpy := sys.modules.get("numpy"):
            # The dumper is registered by class name. Resolving it on first use would modify the
            # shared map, so it is resolved here.
            for fmt in PyFormat if rows else ():
                types.adapters.get_dumper(numpy.ndarray, fmt)
        return types

    def adapters_for(self, values: VectorValues) -> AdaptersMap:
        """Return ``adapters``, with loaders that give vectors as ``values``."""
        if values == "pgvector":
            return self.adapters
        if (variant := self._variants.get(values)) is None:
            variant = AdaptersMap(self.adapters)
            use_values(variant, values, self._oids)
            variant = self._variants.setdefault(values, variant)
        return variant

    def register(self, adapters: AdaptersMap, values: VectorValues = "pgvector") -> None:
        """Register the types in ``adapters``, which no other connection may share.

        Types that the installed pgvector does not support arrive as text.
        """
        if not self.rows:
            return
        context = cast("BaseConnection[Any]", _Adaptable(adapters))
        for name, oid, array_oid, regtype, delimiter in self.rows:
            info = TypeInfo(name, oid, array_oid, regtype=regtype, delimiter=delimiter)
            if name in _REGISTER:
                _REGISTER[name](context, info)
            else:
                info.register(context)
        if "bit" in _REGISTER:
            # "bit" is a core type, with the same identifiers in every database.
            _REGISTER["bit"](context, psycopg.adapters.types["bit"])
        use_values(adapters, values, self._oids)

    @property
    def _oids(self) -> dict[str, int]:
        return {name: oid for name, oid, *_ in self.rows}

    def known_to(self, adapters: AdaptersMap) -> bool:
        """Return True if ``adapters`` already has all these types with the same identifiers."""
        return all(
            (info := adapters.types.get(oid)) is not None and info.name == name
            for name, oid, *_ in self.rows
        )


@dataclass(frozen=True)
class _Adaptable:
    adapters: AdaptersMap
    connection: None = None


class DatabaseTypes:
    """The latest ``VectorTypes`` of one database, as seen by one role.

    Does no I/O: the functions in ``lookup`` query the server and publish the result here. Safe to
    use from several threads, event loops and signal handlers, because ``current`` is replaced,
    never modified, and no lock is held.

    Attributes:
        name: The name by which log messages refer to the database, without secrets.
        metadata: The metadata of each ``pgvector_registration`` sample: that name.
        current: The most recently published types; ``None`` before the first look-up.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.metadata = {"conn_info": name}
        self.current: VectorTypes | None = None
        self._checked_at = -math.inf
        self._doubted_at = 0.0
        self._generations = itertools.count(1)
        # Has at most one item, so that one caller at a time can add it.
        self._lookups: dict[str, Future[VectorTypes | None]] = {}
        self._warned = False

    def is_current(self, generation: int) -> bool:
        """Return True if ``generation`` is the generation number of the latest types."""
        current = self.current
        return current is not None and generation == current.generation

    def stale(self, ttl: float, now: float) -> bool:
        """Return True if the types should be looked up again on the server.

        The types are stale before the first look-up, after ``distrust``, and when the last answer
        is more than ``ttl`` seconds old, or more than one second if the extension was missing.
        """
        current = self.current
        checked_at = self._checked_at
        if current is None or checked_at <= self._doubted_at:
            return True
        age = now - checked_at
        return age > (ttl if current.rows else min(ttl, ABSENCE_TTL))

    def distrust(self, now: float) -> None:
        """Mark the types as stale as of the monotonic time ``now``, in seconds."""
        self._doubted_at = now

    def join_lookup(self) -> Future[VectorTypes | None] | None:
        """Join the look-up in progress, or start one.

        Returns:
            A future for the look-up in progress; the future's result is ``None`` if the look-up
            fails. If no look-up was in progress, ``None``: the caller must then query the server
            and end the look-up with ``publish`` or ``give_up_lookup``.
        """
        mine: Future[VectorTypes | None] = Future()
        # Otherwise, cancelling one waiting task would cancel the future for all of them.
        mine.set_running_or_notify_cancel()
        lookup = self._lookups.setdefault(_IN_PROGRESS, mine)
        return None if lookup is mine else lookup

    def publish(self, rows: tuple[Row, ...], asked_at: float) -> VectorTypes:
        """End a look-up, publishing the server's answer if it differs from the previous answer.

        Args:
            rows: The server's answer, in the format of ``VectorTypes.rows``.
            asked_at: Monotonic time, in seconds, at which the query was sent.

        Returns:
            The currently published types.
        """
        before = current = self.current
        if current is None or current.rows != rows:
            current = VectorTypes.build(next(self._generations), rows)
            if (other := self.current) is not None and other.rows == rows:
                current = other  # published meanwhile
            self.current = current
        self._checked_at = max(self._checked_at, asked_at)
        warn = not rows and not self._warned
        self._warned = not rows
        if before is not None and before is not current:
            logger.info("pgvector's types changed in %s; replacing connections", shorten(self.name))
        if warn:
            logger.warning(
                'no extension "vector" in %s: vectors are read as text until it is created',
                shorten(self.name),
            )
        self._end_lookup(current)
        return current

    def give_up_lookup(self) -> None:
        """End a failed look-up, so that callers waiting for its result can query the server."""
        self._end_lookup(None)

    def _end_lookup(self, found: VectorTypes | None) -> None:
        lookup = self._lookups.pop(_IN_PROGRESS, None)
        if lookup is not None:
            lookup.set_result(found)


class TypeCache:
    """The pgvector types of all databases that this process uses. Thread-safe."""

    def __init__(self) -> None:
        self._databases: dict[Hashable, DatabaseTypes] = {}

    def of(self, key: Hashable, name: str) -> DatabaseTypes:
        """Return a database's types, creating an entry on the first call.

        Args:
            key: Identifies the server, database and role.
            name: The database's name in log messages; must not contain secrets.
        """
        return self._databases.setdefault(key, DatabaseTypes(name))

    def clear(self) -> None:
        """Forget the types of every database, so that they are looked up again on the next use."""
        self._databases.clear()
