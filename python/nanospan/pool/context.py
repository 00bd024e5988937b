"""pgvector's types for connections and pools that nanospan does not manage."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from psycopg.adapt import AdaptersMap

from nanospan.pool.config import ConnectionPoolConfig
from nanospan.pool.conninfo import Target
from nanospan.pool.opening import reach_server, reach_server_async
from nanospan.pool.policy import Endpoint
from nanospan.pool.registry import REGISTRY

if TYPE_CHECKING:
    from nanospan.pool.vector_types import VectorTypes

__all__ = ["vector_context", "vector_context_async"]

DEFAULTS = ConnectionPoolConfig()


def vector_context(conninfo: str, config: ConnectionPoolConfig | None = None) -> AdaptersMap:
    """Psycopg's adapters and those of pgvector's types in a database, ready to connect with.

    ```python
    psycopg.connect(url, context=vector_context(url))
    ConnectionPool(url, kwargs=lambda: {"context": vector_context(url)})
    ```

    Asks the database on a connection of its own, once for all users of the process and again
    after `type_cache_ttl`; in between it takes about a microsecond. Given as a function, as in
    the second line, a pool asks for it at each new connection and so follows changes.

    Args:
        conninfo: A PostgreSQL URL or `key=value` pairs.
        config: Settings, of which `connection_timeout` and `type_cache_ttl` matter.

    Returns:
        A map of the caller's own, to change as he likes. Without the extension in that database
        it is psycopg's.

    Raises:
        PoolOpenError: If the server does not answer within `connection_timeout`, or refuses.
        ConninfoError: If `conninfo` cannot be read.
    """
    endpoint = _endpoint(conninfo, config)
    if endpoint.types.stale(endpoint.config.type_cache_ttl):
        reach_server(endpoint, endpoint.config.connection_timeout)
    return _copy(endpoint)


async def vector_context_async(
    conninfo: str, config: ConnectionPoolConfig | None = None
) -> AdaptersMap:
    """The same without blocking the event loop, see `vector_context`.

    ```python
    async def arguments():
        return {"context": await vector_context_async(url)}

    pool = AsyncConnectionPool(url, kwargs=arguments, open=False)
    ```
    """
    endpoint = _endpoint(conninfo, config)
    if endpoint.types.stale(endpoint.config.type_cache_ttl):
        await reach_server_async(endpoint, endpoint.config.connection_timeout)
    return _copy(endpoint)


def _endpoint(conninfo: str, config: ConnectionPoolConfig | None) -> Endpoint:
    target = Target.parse(conninfo)
    types = REGISTRY.types.of(target.database, target.masked)
    return Endpoint(target, config or DEFAULTS, types)


def _copy(endpoint: Endpoint) -> AdaptersMap:
    return AdaptersMap(cast("VectorTypes", endpoint.types.current).adapters)
