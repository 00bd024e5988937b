"""Tests that the internals of psycopg and psycopg_pool used by the pools still exist.

If a new version renames an internal or changes its parameters, these tests fail before production
does. Then find out what changed, and adapt the pools before the expectations.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib
import inspect
import threading
from collections import Counter, deque
from pathlib import Path
from queue import Queue
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg_pool
from psycopg import _connection_base
from psycopg_pool import AsyncConnectionPool, ConnectionPool, sched, sched_async

import nanospan.pool

if TYPE_CHECKING:
    from collections.abc import Iterable

# Signatures in the asynchronous classes; synchronous classes must have the same without "async".
POOL = {
    "_add_connection": "async (self, attempt, growing=False)",
    "_add_to_pool": "async (self, conn)",
    "_check_open_getconn": "(self)",
    "_connect": "async (self, timeout=None)",
    "_get_ready_connection": "async (self, timeout)",
    "_getconn_unchecked": "async (self, timeout)",
    "_maybe_grow_pool": "(self)",
    "_reset_connection": "async (self, conn)",
    "_start_initial_tasks": "(self)",
    "_start_workers": "(self)",
    "check": "async (self)",
    "close": "async (self, timeout=5.0)",
    "connection": "(self, timeout=None)",
    "getconn": "async (self, timeout=None)",
    "putconn": "async (self, conn)",
    "reconnect_failed": "async (self)",
    "resize": "async (self, min_size, max_size=None)",
    "wait": "async (self, timeout=30.0)",
}
NULL_POOL = {
    "_add_to_pool": "async (self, conn)",
    "_get_ready_connection": "async (self, timeout)",
    "check": "async (self)",
    "resize": "async (self, min_size, max_size=None)",
    "wait": "async (self, timeout=30.0)",
}
TASK = {"_run": "async (self, pool)"}
CONNECTION = {
    "close": "async (self)",
    "wait": "async (self, gen, interval=0.1, timeout=None)",
}
METHODS = {
    # Before psycopg 3.3, it also takes the time limit; the pools pass on whatever it is given.
    "psycopg._connection_base.BaseConnection": {"_connect_gen": "(conninfo='')"},
    "psycopg.AsyncConnection": CONNECTION,
    "psycopg.Connection": CONNECTION,
    "psycopg_pool.base.AttemptWithBackoff": {"update_delay": "(self, now)"},
    "psycopg_pool.base.BasePool": {
        "_check_open_getconn": "(self)",
        "_check_pool_putconn": "(self, conn)",
        "_check_size": "(self, min_size, max_size)",
        "_set_connection_expiry_date": "(self, conn)",
    },
    "psycopg_pool.base_null_pool._BaseNullConnectionPool": {
        "_check_size": "(self, min_size, max_size)",
        "_maybe_grow_pool": "(self)",
        "_start_initial_tasks": "(self)",
    },
    "psycopg_pool.pool_async.AsyncConnectionPool": {
        **POOL,
        "_signal_stop_worker": "async (self)",
        "drain": "async (self)",
        "open": "async (self, wait=False, timeout=30.0)",
        "worker": "async (q)",
    },
    "psycopg_pool.pool.ConnectionPool": {**POOL, "_signal_stop_worker": "(self)"},
    "psycopg_pool.null_pool_async.AsyncNullConnectionPool": NULL_POOL,
    "psycopg_pool.null_pool.NullConnectionPool": NULL_POOL,
    "psycopg_pool.pool_async.MaintenanceTask": TASK,
    "psycopg_pool.pool.MaintenanceTask": TASK,
    "psycopg_pool.sched.Scheduler": {"enterabs": "(self, time, action)", "run": "(self)"},
}
STATISTICS = {
    "_CONNECTIONS_ERRORS": "connections_errors",
    "_CONNECTIONS_LOST": "connections_lost",
    "_CONNECTIONS_MS": "connections_ms",
    "_CONNECTIONS_NUM": "connections_num",
    "_REQUESTS_ERRORS": "requests_errors",
    "_REQUESTS_NUM": "requests_num",
    "_REQUESTS_QUEUED": "requests_queued",
    "_REQUESTS_WAIT_MS": "requests_wait_ms",
    "_RETURNS_BAD": "returns_bad",
    "_USAGE_MS": "usage_ms",
}
# Attribute types in an open asynchronous and an open synchronous pool, keyed by attribute name.
ATTRIBUTES: dict[str, tuple[type, type]] = {
    "_check": (type(None), type(None)),
    "_closed": (bool, bool),
    "_drained_at": (float, float),
    "_lock": (asyncio.Lock, type(threading.RLock())),
    "_max_size": (int, int),
    "_min_size": (int, int),
    "_nconns": (int, int),
    "_nconns_min": (int, int),
    "_open_implicit": (bool, bool),
    "_pool": (deque, deque),
    "_sched": (sched_async.AsyncScheduler, sched.Scheduler),
    "_sched_runner": (asyncio.Task, threading.Thread),
    "_stats": (Counter, Counter),
    "_tasks": (asyncio.Queue, Queue),
    "_waiting": (deque, deque),
    "_workers": (list, list),
}
POOL_CONNECTION_ATTRIBUTES = {"_closed", "_created_at", "_expire_at", "_pool"}
CONNECTION_ATTRIBUTES = {
    "_begin_statement",
    "_connect_gen",
    "_pipeline",
    "_prepared",
    *POOL_CONNECTION_ATTRIBUTES,
}
# Undocumented constructors and methods of psycopg_pool that the pools call.
CALLED = {
    "psycopg_pool.pool_async.AddConnection.__init__": "(self, pool, attempt=None, growing=False)",
    "psycopg_pool.pool.AddConnection.__init__": "(self, pool, attempt=None, growing=False)",
    "psycopg_pool.pool_async.MaintenanceTask.__init__": "(self, pool)",
    "psycopg_pool.pool.MaintenanceTask.__init__": "(self, pool)",
    "psycopg_pool.base.AttemptWithBackoff.__init__": "(self, *, timeout)",
    "psycopg_pool.pool_async.AsyncConnectionPool.run_task": "(self, task)",
    "psycopg_pool.pool.ConnectionPool.run_task": "(self, task)",
    "psycopg_pool.pool_async.AsyncConnectionPool.schedule_task": "async (self, task, delay)",
    "psycopg_pool.pool.ConnectionPool.schedule_task": "(self, task, delay)",
    # Called by psycopg_pool; a class of the pools takes the place of this one.
    "psycopg_pool.pool.WaitingClient.fail": "(self, error)",
    "psycopg_pool.pool.WaitingClient.set": "(self, conn)",
    "psycopg_pool._task.Task.__init__": "(self, time, action)",
    "psycopg_pool.sched_async.AsyncScheduler.run": "async (self)",
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def private_names(sources: Iterable[Path]) -> set[str]:
    """Return all private names that the source files define or access as attributes."""
    names = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return set(filter(is_private, names))


def sources_of(package: ModuleType) -> list[Path]:
    assert package.__file__ is not None
    return list(Path(package.__file__).parent.glob("*.py"))


def signature(path: str) -> str:
    """Return a method's signature without types, prefixed with "async" for a coroutine function."""
    module, cls, name = path.rsplit(".", 2)
    member = getattr(getattr(importlib.import_module(module), cls), name)
    if not callable(member):
        return "not a method"
    function = inspect.unwrap(member)
    parameters = inspect.signature(function).parameters.values()
    plain = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    kind = "async " if inspect.iscoroutinefunction(function) else ""
    return kind + str(inspect.Signature(plain))


def our_classes() -> set[type]:
    """Return every class defined in the pools' modules."""
    modules = [
        importlib.import_module(f"nanospan.pool.{source.stem}")
        for source in sources_of(nanospan.pool)
        if source.stem != "__init__"
    ]
    members = (cls for module in modules for cls in vars(module).values() if isinstance(cls, type))
    return {cls for cls in members if cls.__module__.startswith("nanospan.pool")}


@functools.cache
def used_private_names() -> set[str]:
    return private_names(sources_of(nanospan.pool)) & private_names(sources_of(psycopg_pool))


def test_overridden_methods() -> None:
    """Methods that the pools override, and private methods they call, have expected signatures."""
    found: dict[str, dict[str, str]] = {}
    for ours in our_classes():
        mixins = [cls for cls in ours.__mro__ if cls.__module__.startswith("nanospan.")]
        defined = {name for cls in mixins for name in vars(cls) if not name.startswith("__")}
        for theirs in ours.__mro__:
            if not theirs.__module__.startswith("psycopg"):
                continue
            where = f"{theirs.__module__}.{theirs.__qualname__}"
            for name in (defined | used_private_names()) & vars(theirs).keys():
                if name not in {"_abc_impl", *STATISTICS}:
                    found.setdefault(where, {})[name] = signature(f"{where}.{name}")
    expected = {
        where: methods
        if "async" in where.lower() or "base" in where
        else {name: text.removeprefix("async ") for name, text in methods.items()}
        for where, methods in METHODS.items()
    }
    assert found == expected


def test_names_of_statistics() -> None:
    """psycopg_pool's counters that the pools update have the expected names in the statistics."""
    assert {name: getattr(AsyncConnectionPool, name) for name in STATISTICS} == STATISTICS
    assert {name: getattr(ConnectionPool, name) for name in STATISTICS} == STATISTICS


def test_called_internals() -> None:
    """Undocumented classes and methods that the pools call have the expected signatures."""
    assert {path: signature(path) for path in CALLED} == CALLED


def test_all_private_names_are_expected() -> None:
    """Every private name that both the pools and psycopg_pool use is in one of the lists above.

    If the pools use such a name only by coincidence, rename it in the pools.
    """
    methods = {name for each in METHODS.values() for name in each if is_private(name)}
    methods -= CONNECTION_ATTRIBUTES
    expected = methods | STATISTICS.keys() | ATTRIBUTES.keys() | POOL_CONNECTION_ATTRIBUTES
    assert used_private_names() == expected
    assert _connection_base.__file__ is not None
    of_connections = private_names([Path(_connection_base.__file__)])
    assert of_connections & private_names(sources_of(nanospan.pool)) == CONNECTION_ATTRIBUTES


async def test_attributes_of_an_asynchronous_pool() -> None:
    """psycopg_pool's open asynchronous pool has the private attributes that nanospan uses."""
    pool = AsyncConnectionPool[Any]("", min_size=0, max_size=1, open=False)
    await pool.open()
    found = {name: getattr(pool, name) for name in ATTRIBUTES}
    await pool.close()
    assert not [name for name, (kind, _) in ATTRIBUTES.items() if not isinstance(found[name], kind)]


def test_attributes_of_a_synchronous_pool() -> None:
    """psycopg_pool's open synchronous pool has the private attributes that nanospan uses."""
    pool = ConnectionPool[Any]("", min_size=0, max_size=1, open=True)
    found = {name: getattr(pool, name) for name in ATTRIBUTES}
    pool.close()
    assert not [name for name, (_, kind) in ATTRIBUTES.items() if not isinstance(found[name], kind)]


def test_attributes_of_connections() -> None:
    """psycopg_pool stores connections' creation and expiry times in the expected attributes."""
    connection: Any = SimpleNamespace()
    pool = ConnectionPool[Any]("", min_size=0, max_size=1, open=False, max_lifetime=100.0)
    pool._set_connection_expiry_date(connection)
    assert 95.0 <= connection._expire_at - connection._created_at <= 100.0
