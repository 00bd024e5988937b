"""A database, how to connect to it, and what is known of its types."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from nanospan.pool.policy import connect_parameters

if TYPE_CHECKING:
    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.conninfo import Target
    from nanospan.pool.vector_types import DatabaseTypes

__all__ = ["Endpoint"]


@dataclass(frozen=True, eq=False)
class Endpoint:
    """A database as its pools, health checks and look-ups see it. Safe to use from any thread.

    Attributes:
        target: What to connect to.
        config: The settings.
        types: The types of that database.
    """

    target: Target
    config: ConnectionPoolConfig
    types: DatabaseTypes

    def connect_parameters(self) -> dict[str, Any]:
        """Return the arguments of ``connect``; the connection string's own take precedence."""
        return connect_parameters(self.config, self.target.params)

    def connect_arguments(self) -> dict[str, Any]:
        """Return the same with the types that are known at this moment."""
        current = self.types.current
        return {**self.connect_parameters(), "context": current.adapters if current else None}

    def types_are_stale(self) -> bool:
        """Return True if the server should be asked for its types."""
        return self.types.stale(self.config.type_cache_ttl, monotonic())
