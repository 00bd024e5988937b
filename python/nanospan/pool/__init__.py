"""Process-wide PostgreSQL connection pools whose connections support pgvector's types.

```python
from nanospan.pool import get_global_connection_manager

manager = get_global_connection_manager()
async with manager.lease("postgresql://me@localhost/memory", "recall") as connection:
    ...
```
"""

from __future__ import annotations

from nanospan.values.extras import needs

try:
    from nanospan.pool.config import ConnectionPoolConfig, set_default_config
    from nanospan.pool.conninfo import mask_conninfo
    from nanospan.pool.context import vector_context, vector_context_async
    from nanospan.pool.errors import ConninfoError, PoolExhausted, PoolOpenError, PoolOverloaded
    from nanospan.pool.lease_table import LeaseHolder
    from nanospan.pool.manager import (
        GlobalConnectionManager,
        get_global_connection_manager,
        reset_global_connection_pools,
        warmup_global_connection_pools,
    )
    from nanospan.pool.null_pools import SyncVectorNullPool, VectorNullPool
    from nanospan.pool.sync_manager import SyncConnectionManager, get_sync_connection_manager
    from nanospan.pool.sync_vector_pool import SyncVectorPool
    from nanospan.pool.vector_pool import VectorPool
    from nanospan.pool.warmup import WarmupReport
except ImportError as exc:
    package = (exc.name or "psycopg").partition(".")[0]  # psycopg does not name a missing libpq
    if package not in {"pgvector", "psycopg", "psycopg_pool"}:
        raise
    raise ImportError(f"nanospan.pool {needs(package, 'pool')}", name=package) from exc

__all__ = [
    "ConnectionPoolConfig",
    "ConninfoError",
    "GlobalConnectionManager",
    "LeaseHolder",
    "PoolExhausted",
    "PoolOpenError",
    "PoolOverloaded",
    "SyncConnectionManager",
    "SyncVectorNullPool",
    "SyncVectorPool",
    "VectorNullPool",
    "VectorPool",
    "WarmupReport",
    "get_global_connection_manager",
    "get_sync_connection_manager",
    "mask_conninfo",
    "reset_global_connection_pools",
    "set_default_config",
    "vector_context",
    "vector_context_async",
    "warmup_global_connection_pools",
]
