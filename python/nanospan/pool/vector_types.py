"""pgvector's types, looked up once per database and shared by every connection to it.

pgvector's own ``register_vector_async`` takes 12 round trips on every new connection, and each time
makes classes that psycopg never frees. Here one query returns the object identifiers, one
``AdaptersMap`` is built from them, and connections start as copy-on-write copies of it.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass
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
"""Seconds after which a database without the extension is asked again."""


@dataclass(frozen=True)
class VectorTypes:
    """The result of a look-up, ready to connect with: ``connect(..., context=types.adapters)``.

    Published objects are shared by the connections of all threads and never change; a change on
    the server makes a new object with the next generation.

    Attributes:
        generation: Number of this result among those of its database, from 1.
        rows: Name, identifier, array identifier, SQL name and delimiter of each type; empty
            where the extension is missing.
        adapters: psycopg's default adapters plus those of the types.
    """

    generation: int
    rows: tuple[Row, ...]
    adapters: AdaptersMap

    @classmethod
    def build(cls, generation: int, rows: tuple[Row, ...]) -> VectorTypes:
        """Register the types of ``rows`` in a new map."""
        types = cls(generation, rows, AdaptersMap(psycopg.adapters))
        types.register(types.adapters)
        if numpy := sys.modules.get("numpy"):
            # Registered by name; resolved here because the first use would write to the map.
            for fmt in PyFormat if rows else ():
                types.adapters.get_dumper(numpy.ndarray, fmt)
        return types

    def register(self, adapters: AdaptersMap) -> None:
        """Add the types to a map that is not shared."""
        if not self.rows:
            return
        context = cast("BaseConnection[Any]", _Adaptable(adapters))
        for name, oid, array_oid, regtype, delimiter in self.rows:
            info = TypeInfo(name, oid, array_oid, regtype=regtype, delimiter=delimiter)
            _REGISTER[name](context, info)
        # A core type: the same identifiers in every database.
        register_bit_info(context, psycopg.adapters.types["bit"])

    def known_to(self, adapters: AdaptersMap) -> bool:
        """Return True if ``adapters`` has these types under these identifiers."""
        return all(
            (info := adapters.types.get(oid)) is not None and info.name == name
            for name, oid, *_ in self.rows
        )


@dataclass(frozen=True)
class _Adaptable:
    adapters: AdaptersMap
    connection: None = None


class DatabaseTypes:
    """The published ``VectorTypes`` of one database, as seen by one role.

    Does no I/O: the functions of ``lookup`` ask the server and publish the answer here. Safe to use
    from several threads and event loops: ``current`` is replaced, never changed.

    Attributes:
        name: The database as the log shows it, without secrets.
        current: What was published last; ``None`` before the first look-up.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.current: VectorTypes | None = None
        self._checked_at = -math.inf
        self._doubted_at = 0.0
        self._lock = threading.Lock()
        self._lookup: Future[VectorTypes | None] | None = None
        self._warned = False

    def is_current(self, generation: int) -> bool:
        """Return True if ``generation`` is the one that was published last."""
        current = self.current
        return current is not None and generation == current.generation

    def stale(self, ttl: float, now: float) -> bool:
        """Return True if the server should be asked for its types.

        That is the case before the first look-up, after ``distrust``, and when the last answer is
        more than ``ttl`` seconds old; one second if it was that the extension is missing.
        """
        current = self.current
        checked_at = self._checked_at
        if current is None or checked_at <= self._doubted_at:
            return True
        age = now - checked_at
        return age > (ttl if current.rows else min(ttl, ABSENCE_TTL))

    def distrust(self, now: float) -> None:
        """Make the next lease or connection ask the server, as of the monotonic time ``now``."""
        self._doubted_at = now

    def join_lookup(self) -> Future[VectorTypes | None] | None:
        """Join the look-up under way, or start one.

        Returns:
            The look-up under way, whose result is None if it fails. If there was no look-up, None:
            the caller must ask the server, and end the look-up with ``publish`` or
            ``give_up_lookup``.
        """
        with self._lock:
            if self._lookup is not None:
                return self._lookup
            self._lookup = Future()
            # From here on, a waiting task that is cancelled cannot cancel it for the others.
            self._lookup.set_running_or_notify_cancel()
            return None

    def publish(self, rows: tuple[Row, ...], asked_at: float) -> VectorTypes:
        """Publish the answer to a look-up if it differs from the last.

        Args:
            rows: What the server answered.
            asked_at: Monotonic time at which it was asked.

        Returns:
            The types that are published now.
        """
        with self._lock:
            before = self.current
            if before is None or before.rows != rows:
                self.current = VectorTypes.build(before.generation + 1 if before else 1, rows)
            current = cast("VectorTypes", self.current)
            self._checked_at = max(self._checked_at, asked_at)
            warn = not rows and not self._warned
            self._warned = not rows
            lookup, self._lookup = self._lookup, None
        if before is not None and before is not current:
            logger.info("types of pgvector changed in %s; renewing connections", self.name)
        if warn:
            logger.warning(
                'no extension "vector" in %s: vectors are read as text until it is created',
                self.name,
            )
        if lookup is not None:
            lookup.set_result(current)
        return current

    def give_up_lookup(self) -> None:
        """End a look-up without an answer, so that a caller who joined it asks the server."""
        with self._lock:
            lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.set_result(None)


class TypeCache:
    """The types of all databases this process talks to. Safe to use from several threads."""

    def __init__(self) -> None:
        self._databases: dict[Hashable, DatabaseTypes] = {}

    def of(self, key: Hashable, name: str) -> DatabaseTypes:
        """Return the types of a database.

        Args:
            key: Identifies cluster, database and role.
            name: The database as the log shows it, without secrets.
        """
        return self._databases.setdefault(key, DatabaseTypes(name))

    def clear(self) -> None:
        """Forget every database, so that the next connection asks the server."""
        self._databases.clear()
