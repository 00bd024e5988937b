"""PostgreSQL pools, shared by a whole process, whose every connection speaks pgvector.

```python
from perfuse.pool import get_global_connection_manager

manager = get_global_connection_manager()
async with manager.lease("postgresql://me@localhost/memory", "recall") as connection:
    ...
```
"""

from __future__ import annotations

from perfuse.pool.config import ConnectionPoolConfig
from perfuse.pool.conninfo import mask_conninfo
from perfuse.pool.context import vector_context, vector_context_async
from perfuse.pool.errors import ConninfoError, PoolExhausted, PoolOpenError, PoolOverloaded
from perfuse.pool.leases import LeaseHolder
from perfuse.pool.manager import (
    GlobalConnectionManager,
    get_global_connection_manager,
    reset_global_connection_pools,
    warmup_global_connection_pools,
)
from perfuse.pool.sync_manager import SyncConnectionManager, get_sync_connection_manager
from perfuse.pool.warmup import WarmupReport

__all__ = [
    "ConnectionPoolConfig",
    "ConninfoError",
    "GlobalConnectionManager",
    "LeaseHolder",
    "PoolExhausted",
    "PoolOpenError",
    "PoolOverloaded",
    "SyncConnectionManager",
    "WarmupReport",
    "get_global_connection_manager",
    "get_sync_connection_manager",
    "mask_conninfo",
    "reset_global_connection_pools",
    "vector_context",
    "vector_context_async",
    "warmup_global_connection_pools",
]
