"""PostgreSQL pools, shared by a whole process, whose every connection speaks pgvector.

```python
from perfuse.pool import get_global_connection_manager

manager = get_global_connection_manager()
pool = await manager.get_connection_pool("postgresql://me@localhost/memory")
async with pool.connection() as connection:
    ...
```
"""

from __future__ import annotations

from perfuse.pool.config import ConnectionPoolConfig
from perfuse.pool.conninfo import mask_conninfo
from perfuse.pool.errors import ConninfoError, PoolOpenError
from perfuse.pool.manager import (
    GlobalConnectionManager,
    WarmupReport,
    get_global_connection_manager,
    reset_global_connection_pools,
    warmup_global_connection_pools,
)

__all__ = [
    "ConnectionPoolConfig",
    "ConninfoError",
    "GlobalConnectionManager",
    "PoolOpenError",
    "WarmupReport",
    "get_global_connection_manager",
    "mask_conninfo",
    "reset_global_connection_pools",
    "warmup_global_connection_pools",
]
