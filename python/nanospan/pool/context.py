"""pgvector support for connections and pools that nanospan does not manage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.adapt import AdaptersMap

from nanospan.pool.config import as_config, default_config
from nanospan.pool.conninfo import Target
from nanospan.pool.opening import reach_server, reach_server_async
from nanospan.pool.registry import REGISTRY

if TYPE_CHECKING:
    from nanospan.pool.config import AnyConfig
    from nanospan.pool.endpoint import Endpoint

__all__ = ["vector_context", "vector_context_async"]


def vector_context(conninfo: str, config: AnyConfig | None = None) -> AdaptersMap:
    """Return psycopg's default adapters plus adapters for a database's pgvector types.

    ```python
    psycopg.connect(url, context=vector_context(url))
    ConnectionPool(url, kwargs=lambda: {"context": vector_context(url)})
    ```

    The first call for a database connects to it to look up the types, as does the first call after
    ``type_cache_ttl`` expires; other calls take a few microseconds. If a pool's ``kwargs`` is a
    function, as in the second example, the pool calls the function for each new connection and so
    picks up changes to the types.

    Args:
        conninfo: A PostgreSQL URL or ``key=value`` pairs.
        config: The pool settings, as ``GlobalConnectionManager.get_connection_pool`` takes them.
            Only ``type_cache_ttl``, ``vector_values`` and the connection settings are used.

    Returns:
        A new ``AdaptersMap``, which the caller may modify. If the database lacks the pgvector
        extension, the map contains only psycopg's default adapters.

    Raises:
        PoolOpenError: If the server refuses the connection, or does not answer within
            ``connection_timeout``.
        ConninfoError: If ``conninfo`` is not a valid connection string.
    """
    endpoint = _endpoint(conninfo, config)
    if endpoint.types_are_stale():
        reach_server(endpoint, endpoint.config.connection_timeout)
    return _copy(endpoint)


async def vector_context_async(conninfo: str, config: AnyConfig | None = None) -> AdaptersMap:
    """Return the same adapters as ``vector_context``, without blocking the event loop.

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


def _endpoint(conninfo: str, config: AnyConfig | None) -> Endpoint:
    return REGISTRY.endpoint(Target.parse(conninfo), as_config(config) or default_config())


def _copy(endpoint: Endpoint) -> AdaptersMap:
    return AdaptersMap(endpoint.adapters())
