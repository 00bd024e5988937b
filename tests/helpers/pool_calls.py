"""Every public call of the pools and their managers; run as a program by a test.

Arguments: the file that names the current call, and the URL of a database.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import psycopg_pool
import public_calls
import reentry

from nanospan import pool
from nanospan.compat.memfuse import global_connection_manager as memfuse
from nanospan.pool.lease_table import Holder
from nanospan.pool.sync_vector_pool import SyncVectorPool

URL = sys.argv[2]
SIZES: Any = {"min_size": 3, "max_size": 4}
CONFIG = pool.ConnectionPoolConfig(timeout=0.05, connection_timeout=5.0, **SIZES)
PATIENCE = 30.0
BRIEF = 0.05
LOOP = asyncio.new_event_loop()


class World:
    """The objects whose methods are called; a pool that a call has closed is replaced."""

    pools: ClassVar[dict[type, Any]] = {}

    @classmethod
    def renew(cls) -> None:
        cls.pool(pool.SyncVectorNullPool)
        for used in (cls.pool(pool.SyncVectorPool), manager().get_connection_pool(URL, CONFIG)):
            used.fill(PATIENCE)
            used.wait(PATIENCE)

    @classmethod
    def pool(cls, kind: type) -> Any:
        known = cls.pools.get(kind)
        is_sync = issubclass(kind, SyncVectorPool)
        if known is None or (is_sync and known.closed):
            tracer = sys.gettrace()
            sys.settrace(None)
            sizes = {**SIZES, "min_size": 0} if kind.null_pool else SIZES
            known = kind(URL, open=False, timeout=BRIEF, connection_timeout=5.0, **sizes)
            if is_sync:
                known.open()
                known.fill(PATIENCE)
            cls.pools[kind] = known
            sys.settrace(tracer)
        return known


def manager() -> pool.SyncConnectionManager:
    return pool.get_sync_connection_manager()


def leased(it: Any) -> None:
    it.putconn(it.getconn(BRIEF))


def used(it: Any) -> None:
    with it.connection(BRIEF) as connection:
        connection.execute("SELECT 1")


def shared(it: pool.SyncConnectionManager) -> None:
    with it.lease(URL, timeout=BRIEF):
        pass


def held(it: Any) -> None:
    it.putconn(it.lease(Holder(), BRIEF))


def awaited(coroutine: Any) -> Any:
    return LOOP.run_until_complete(coroutine)


async def is_healthy(it: Any) -> bool:
    return await it.is_pool_healthy(await it.get_connection_pool(URL), URL)


SLOW = set(
    """
    SyncConnectionManager.close_all_pools SyncConnectionManager.close_pool
    SyncConnectionManager.get_connection_pool SyncConnectionManager.is_pool_healthy
    SyncConnectionManager.lease SyncConnectionManager.reset_all_pools
    SyncConnectionManager.warmup_common_pools SyncVectorPool.check SyncVectorPool.check_health
    SyncVectorPool.close SyncVectorPool.connection SyncVectorPool.drain SyncVectorPool.fill
    SyncVectorPool.wait SyncVectorNullPool.check_health SyncVectorNullPool.close
    SyncVectorNullPool.connection SyncVectorNullPool.fill SyncVectorNullPool.getconn
    SyncVectorNullPool.lease SyncVectorNullPool.wait
    """.split()  # noqa: SIM905 - a list would take 20 lines
)
"""Calls that talk to the server, or wait, or make others do so."""


OF_SYNC_POOLS = {
    "check_health": lambda it: it.check_health(1.0),
    "close": lambda it: it.close(0.1),
    "connection": used,
    "fill": lambda it: it.fill(BRIEF),
    "getconn": leased,
    "lease": held,
    "resize": lambda it: it.resize(it.min_size, 4),
    "wait": lambda it: it.wait(BRIEF),
}
OF_POOLS = {
    "exhausted": lambda it: it.exhausted(0.1),
}
INTERNAL = {
    "abandon": "called when the event loop of the pool has ended",
    "check_connection": "psycopg_pool's, of a connection",
    "disown": "called in a forked child only",
    "lease_failed": "called with the pool's own connection, by its leases",
    "putconn": "called with the connection of getconn",
    "reconnect_failed": "called by the pool's threads",
    "renew_locks": "called in a forked child only",
    "run_task": "called by the pool, with its tasks",
    "schedule_task": "called by the pool, with its tasks",
    "shared": "called by the managers",
    "worker": "the work of the pool's threads",
}
ASYNC_POOLS = dict.fromkeys(
    (
        *("check", "check_health", "close", "drain", "fill", "getconn", "lease"),
        *("open", "resize", "sweep", "wait"),
    ),
    "is awaited in the pool's event loop, where no handler can call it",
)


def of(classes: str, table: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}.{member}": it for name in classes.split() for member, it in table.items()}


SYNC = "SyncVectorPool SyncVectorNullPool"
ASYNC = "VectorPool VectorNullPool"
API = public_calls.Api(
    modules=("nanospan.pool", "nanospan.compat.memfuse.global_connection_manager"),
    subjects={
        "SyncVectorPool": lambda: World.pool(pool.SyncVectorPool),
        "SyncVectorNullPool": lambda: World.pool(pool.SyncVectorNullPool),
        "VectorPool": lambda: World.pool(pool.VectorPool),
        "VectorNullPool": lambda: World.pool(pool.VectorNullPool),
        "SyncConnectionManager": manager,
        "GlobalConnectionManager": memfuse.GlobalConnectionManager,
    },
    arguments={
        **of(SYNC, OF_SYNC_POOLS),
        **of(f"{SYNC} {ASYNC}", OF_POOLS),
        **of(ASYNC, {"connection": lambda it: it.connection()}),
        "SyncConnectionManager.close_pool": lambda it: it.close_pool(URL),
        "SyncConnectionManager.get_connection_pool": lambda it: it.get_connection_pool(URL, CONFIG),
        "SyncConnectionManager.is_pool_healthy": lambda it: it.is_pool_healthy(
            it.get_connection_pool(URL, CONFIG), URL
        ),
        "SyncConnectionManager.lease": shared,
        "SyncConnectionManager.resize_pool": lambda it: it.resize_pool(URL, 3, 4),
        "SyncConnectionManager.warmup_common_pools": lambda it: it.warmup_common_pools([URL]),
        "GlobalConnectionManager.close_pool": lambda it: it.close_pool(URL),
        "GlobalConnectionManager.get_connection_pool": lambda it: it.get_connection_pool(URL),
        "GlobalConnectionManager.is_pool_healthy": is_healthy,
        "GlobalConnectionManager.lease": lambda it: it.lease(URL),
        "GlobalConnectionManager.resize_pool": lambda it: it.resize_pool(URL, 3, 4),
        "mask_conninfo": lambda: pool.mask_conninfo(URL),
        "set_default_config": lambda: pool.set_default_config(CONFIG),
    },
    excluded={
        **of(f"{SYNC} {ASYNC}", INTERNAL),
        **of(ASYNC, ASYNC_POOLS),
        "AsyncConnectionPool": "psycopg_pool's",
        "AsyncRWLock": "for the tasks of one event loop",
        "register_vector_async": "pgvector's",
        "vector_context": "called with the caller's connection",
        "vector_context_async": "called with the caller's connection",
    },
    run=awaited,
)


def is_expected(error: BaseException) -> bool:
    """Return whether an interruption may cause the error, such as by closing the pool first."""
    return isinstance(error, (psycopg.OperationalError, pool.PoolOpenError))


PACKAGES = (
    f"{reentry.PACKAGE}/pool/",
    f"{reentry.PACKAGE}/compat/",
    f"{reentry.PACKAGE}/reentrant.py",
    f"{Path(psycopg_pool.__file__).parent}/",
)

if __name__ == "__main__":
    logging.disable()
    World.renew()
    found = public_calls.public_calls(API)
    if found.complaints:
        sys.exit("\n".join(sorted(found.complaints)))
    reentry.main(
        reentry.Reentry(
            found.calls,
            World.renew,
            is_expected,
            sys.argv[1],
            packages=PACKAGES,
            awaited=found.awaited,
            slow=SLOW,
        )
    )
