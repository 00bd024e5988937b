"""Tests of what vectors arrive as, with the installed pgvector and psycopg and with the oldest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pgvector import HalfVector, SparseVector, Vector
from pool_checks import LIMIT, run

from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    SyncConnectionManager,
    vector_context,
)

QUERY = "SELECT '[1,0.1]'::vector, '[1,0.1]'::halfvec, ARRAY['[3]'::vector], '{1:2}/3'::sparsevec"
OLDEST = Path(__file__).parents[2] / ".venv" / "oldest"
FLOAT_32 = float(np.float32(0.1))
FLOAT_16 = float(np.float16(0.1))


def config(values: Any) -> ConnectionPoolConfig:
    """Return the settings of a small pool."""
    return ConnectionPoolConfig(min_size=1, max_size=1, vector_values=values)


def checked(row: Any, values: str) -> None:
    """Assert that a row of `QUERY` has the values asked for."""
    vector, half, several, sparse = row
    assert sparse == SparseVector({0: 2}, 3)
    if values == "pgvector":
        assert (vector, half, several) == (Vector([1, 0.1]), HalfVector([1, 0.1]), [Vector([3])])
    elif values == "list":
        assert (vector, half, several) == ([1.0, FLOAT_32], [1.0, FLOAT_16], [[3.0]])
        assert json.loads(json.dumps(vector)) == vector
    else:
        assert (vector.dtype, half.dtype) == (np.dtype("float32"), np.dtype("float16"))
        assert vector.tolist() == [1.0, FLOAT_32]
        assert half.tolist() == [1.0, FLOAT_16]
        assert [each.tolist() for each in several] == [[3.0]]
        vector += 1  # the array may be changed


@pytest.mark.parametrize("values", ["pgvector", "numpy", "list"])
async def test_values(manager: GlobalConnectionManager, database: str, values: str) -> None:
    """In both formats, vectors arrive as configured; other pools of the database are unaffected."""
    plain = await manager.get_connection_pool(f"{database}?application_name=x", config("pgvector"))
    pool = await manager.get_connection_pool(database, config(values))
    for binary in (False, True):
        async with pool.connection() as connection:
            cursor = connection.cursor(binary=binary)
            checked(await (await cursor.execute(QUERY)).fetchone(), values)
        async with plain.connection() as connection:
            cursor = connection.cursor(binary=binary)
            checked(await (await cursor.execute(QUERY)).fetchone(), "pgvector")


def test_synchronous_values(sync_manager: SyncConnectionManager, database: str) -> None:
    """Synchronous pools and other people's connections take the setting, too, from a mapping."""
    settings = {"database": {"postgres": {"vector_values": "list"}}}
    with sync_manager.lease(database, config=settings) as connection:
        checked(connection.execute(QUERY).fetchone(), "list")
    context = vector_context(database, settings)
    loader = context.get_loader(context.types["vector"].oid, format=0)
    assert loader is not None
    assert loader(0).load(b"[1,2]") == [1.0, 2.0]


async def test_recreated_extension(manager: GlobalConnectionManager, database: str) -> None:
    """After the extension was created again, vectors still arrive as configured."""
    eager = ConnectionPoolConfig(1, 1, vector_values="list", type_cache_ttl=0.0)
    pool = await manager.get_connection_pool(database, eager)
    async with pool.connection() as connection:
        checked(await (await connection.execute(QUERY)).fetchone(), "list")
    run(database, "DROP EXTENSION vector", "CREATE EXTENSION vector")
    async with pool.connection() as connection:
        checked(await (await connection.execute(QUERY)).fetchone(), "list")


@pytest.mark.parametrize("vector_values", ["lists", "", None, 3])
def test_wrong_values(vector_values: Any) -> None:
    """Any other value is an error that names the setting and its values."""
    with pytest.raises(ValueError, match="vector_values must be 'pgvector' or 'numpy' or 'list'"):
        ConnectionPoolConfig(vector_values=vector_values)


def test_numpy_is_missing(database: str) -> None:
    """Without NumPy, a pool of arrays is refused with the command to run; others do not need it."""
    code = f"""
import sys
sys.modules["numpy"] = None
from nanospan.pool import ConnectionPoolConfig, get_sync_connection_manager
manager = get_sync_connection_manager()
with manager.lease({database!r}, config=ConnectionPoolConfig(0, 1)) as connection:
    print(connection.execute("SELECT '[1]'::vector").fetchone())
arrays = {{"postgres": {{"vector_values": "numpy"}}}}
try:
    manager.get_connection_pool({database!r} + "?application_name=x", arrays)
except ImportError as error:
    print(error)
"""
    assert printed_by(code) == (
        "(Vector([1.0]),)\nvector_values='numpy' needs NumPy: pip install numpy\n"
    )


OLD = f"""
import sys, types
import psycopg, numpy
assert psycopg.__version__ == "3.2.6", psycopg.__version__
# pgvector 0.2 has no __init__.py, so that a later version anywhere on the path would win.
pgvector = sys.modules["pgvector"] = types.ModuleType("pgvector")
pgvector.__path__ = [{str(OLDEST / "pgvector")!r}]
import asyncio
from nanospan.pool import *

QUERY = "SELECT '[1,2.5]'::vector, '[1]'::halfvec, ARRAY['[3]'::vector], '{{1:2}}/3'::sparsevec"

async def main(url):
    manager = get_global_connection_manager()
    async with manager.lease(url) as connection:
        print(await (await connection.execute(QUERY)).fetchone())
        await connection.execute("CREATE TABLE t (v vector(2))")
        for binary in (False, True):
            cursor = connection.cursor(binary=binary)
            vector = numpy.array([1.5, 2.5])
            placeholder = "%b" if binary else "%s"
            await cursor.execute(f"INSERT INTO t VALUES ({{placeholder}})", [vector])
            await cursor.execute("SELECT v, v <-> %s FROM t", [vector])
            print((await cursor.fetchall())[-1])
    await manager.close_all_pools()

asyncio.run(main(sys.argv[1]))
sync = get_sync_connection_manager()
for values in ("numpy", "list"):
    with sync.lease(sys.argv[1], config={{"postgres": {{"vector_values": values}}}}) as connection:
        print(connection.execute(QUERY).fetchone())
    sync.close_all_pools()
"""


def printed_by(code: str, *arguments: str, **environment: str) -> str:
    """Return what a program prints; it must end well."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    env = {**os.environ, **environment}
    ended = subprocess.run(
        command, check=False, timeout=LIMIT, capture_output=True, text=True, env=env
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_oldest_versions(database: str) -> None:
    """With pgvector 0.2.5 and psycopg 3.2.6, vectors work, and newer types arrive as text."""
    if not OLDEST.is_dir():
        missing = f"{OLDEST} is missing; run make install"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    assert printed_by(OLD, database, PYTHONPATH=str(OLDEST)).splitlines() == [
        "(array([1. , 2.5], dtype=float32), '[1]', [array([3.], dtype=float32)], '{1:2}/3')",
        "(array([1.5, 2.5], dtype=float32), 0.0)",
        "(array([1.5, 2.5], dtype=float32), 0.0)",
        (
            "(array([1. , 2.5], dtype=float32), array([1.], dtype=float16), "
            "[array([3.], dtype=float32)], '{1:2}/3')"
        ),
        "([1.0, 2.5], [1.0], [[3.0]], '{1:2}/3')",
    ]
