"""pgvector's types for connections and pools that nanospan does not manage."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from psycopg.adapt import AdaptersMap

from nanospan.pool.config import ConnectionPoolConfig
from nanospan.pool.conninfo import Target
from nanospan.pool.opening import reach_server, reach_server_async
from nanospan.pool.registry import REGISTRY

if TYPE_CHECKING:
    from nanospan.pool.endpoint import Endpoint
    from nanospan.pool.vector_types import VectorTypes

__all__ = ["vector_context", "vector_context_async"]

DEFAULTS = ConnectionPoolConfig()


def vector_context(conninfo: str, config: ConnectionPoolConfig | None = None) -> AdaptersMap:
    """Return psycopg's adapters plus those of a database's pgvector types.

    ```python
    psycopg.connect(url, context=vector_context(url))
    ConnectionPool(url, kwargs=lambda: {"context": vector_context(url)})
    ```

    The first call in a process connects to the database to ask for the types, and so does the
    first call after each ``type_cache_ttl``; in between, a call takes about a microsecond. A pool
    that gets a function, as in the second line, calls it for each new connection and so follows
    changes.

    Args:
        conninfo: A PostgreSQL URL or ``key=value`` pairs.
        config: Settings; only ``connection_timeout`` and ``type_cache_ttl`` are used.

    Returns:
        A copy, which the caller may change. If the database lacks the extension, it equals
        psycopg's.

    Raises:
        PoolOpenError: If the server does not answer within ``connection_timeout``, or refuses.
        ConninfoError: If ``conninfo`` cannot be read.
    """
    endpoint = _endpoint(conninfo, config)
    if endpoint.types_are_stale():
        reach_server(endpoint, endpoint.config.connection_timeout)
    return _copy(endpoint)


async def vector_context_async(
    conninfo: str, config: ConnectionPoolConfig | None = None
) -> AdaptersMap:
    """Return the same without blocking the event loop, see ``vector_context``.

    ```python
    async def arguments():
        return {"context": await vector_context_async(url)}

    pool = AsyncConnectionPool(url, kwargs=arguments, open=False)
    ```
    """
    endpoint = _endpoint(conninfo, config)
    if endpoint.types_are_stale():
        await reach_server_async(endpoint, endpoint.config.connection_timeout)
    return _copy(endpoint)


def _endpoint(conninfo: str, config: ConnectionPoolConfig | None) -> Endpoint:
    return REGISTRY.endpoint(Target.parse(conninfo), config or DEFAULTS)


def _copy(endpoint: Endpoint) -> AdaptersMap:
    return AdaptersMap(cast("VectorTypes", endpoint.types.current).adapters)
