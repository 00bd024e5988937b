"""The ``Endpoint`` class: a database, the settings for it, and its known pgvector types."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from nanospan.pool.policy import connect_parameters

if TYPE_CHECKING:
    from psycopg.adapt import AdaptersMap

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.conninfo import Target
    from nanospan.pool.vector_types import DatabaseTypes

__all__ = ["Endpoint"]


@dataclass(frozen=True, eq=False)
class Endpoint:
    """A database, the settings for connecting to it, and its pgvector types. Thread-safe.

    Attributes:
        target: The parsed connection string.
        config: The pool's settings.
        types: The database's pgvector types, as last looked up.
    """

    target: Target
    config: ConnectionPoolConfig
    types: DatabaseTypes

    def connect_parameters(self) -> dict[str, Any]:
        """Return arguments for psycopg's ``connect``, omitting any set in the connection string."""
        return connect_parameters(self.config, self.target.params)

    def connect_arguments(self) -> dict[str, Any]:
        """Return ``connect_parameters`` plus a ``context`` with the known pgvector types."""
        return {**self.connect_parameters(), "context": self.adapters()}

    def adapters(self) -> AdaptersMap | None:
        """Return the shared adapters for the known types, which give vectors as configured."""
        current = self.types.current
        return None if current is None else current.adapters_for(self.config.vector_values)

    def types_are_stale(self) -> bool:
        """Return True if the pgvector types should be looked up again on the server."""
        return self.types.stale(self.config.type_cache_ttl, monotonic())
