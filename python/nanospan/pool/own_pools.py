"""The endpoints of pools that a program constructs itself, as it does psycopg_pool's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nanospan.pool.config import ConnectionPoolConfig
from nanospan.pool.conninfo import FROM_FUNCTION, Target, with_parameters
from nanospan.pool.endpoint import Endpoint
from nanospan.pool.registry import REGISTRY
from nanospan.pool.settings import MAXIMUM, RULES, check_value
from nanospan.pool.vector_types import DatabaseTypes

if TYPE_CHECKING:
    from nanospan.pool.conninfo import Conninfo
    from nanospan.pool.pool_base import PolicyPool

__all__ = ["own_endpoint"]

DEFAULT_SIZE = 4
"""psycopg_pool's default for ``min_size``."""
_FOREVER = {"timeout", "max_idle", "reconnect_timeout"}
"""Settings that psycopg_pool's users may give as infinite."""


def own_endpoint(
    pool: PolicyPool,
    conninfo: Conninfo,
    sizes: tuple[int | None, int | None],
    max_lifetime: float,
    settings: dict[str, Any],
) -> Endpoint:
    """Return the endpoint for the arguments of a new pool, and register the pool.

    Its pgvector types are shared with all pools of the same database and role, unless a function
    returns the connection string: which database that is only shows when the pool connects.

    Args:
        pool: The pool.
        conninfo: A connection string, or a function that returns one.
        sizes: The pool's ``min_size`` and ``max_size``.
        max_lifetime: The maximum age of a connection, in seconds; may be infinite.
        settings: Other fields of ``ConnectionPoolConfig``; times may be infinite.
    """
    REGISTRY.own_pools.add(pool)
    default = 0 if pool.null_pool else DEFAULT_SIZE
    least, most = (default if sizes[0] is None else sizes[0]), sizes[1]
    if max_lifetime != math.inf:
        check_value("max_lifetime", RULES["recycle"], max_lifetime)
    for name in _FOREVER & settings.keys():
        if settings[name] == math.inf:
            settings[name] = MAXIMUM
    least, most = pool._check_size(least, most)  # noqa: SLF001 - raises psycopg_pool's errors
    config = ConnectionPoolConfig(
        min_size=least,
        max_size=most,
        null_pool=pool.null_pool,
        recycle=None if max_lifetime == math.inf else max_lifetime,
        **settings,
    )
    if callable(conninfo):
        target = Target("", {}, FROM_FUNCTION).rotating()
        return Endpoint(target, config, DatabaseTypes(FROM_FUNCTION), conninfo)
    given = config.kwargs if isinstance(config.kwargs, Mapping) else {}
    target = with_parameters(conninfo, given)
    return REGISTRY.endpoint(target, config, conninfo)
