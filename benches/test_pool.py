"""Benchmarks of the pool manager: warm look-ups, empty leases, and connecting with types.

pytest-benchmark calls plain functions, so each bench has its own event loop, and the timed function
runs one coroutine in it. Entering and leaving the loop takes 20 µs; if the work takes far less, the
coroutine repeats it ``BATCH`` times, and ``report.py`` divides the time by ``BATCH``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pgvector import Vector
from pgvector.psycopg import register_vector_async
from psycopg_pool import AsyncConnectionPool

from nanospan.demo.database import EmbeddedServer
from nanospan.pool import ConnectionPoolConfig, get_global_connection_manager

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from pytest_benchmark.fixture import BenchmarkFixture

BATCH = 1000
READ = "SELECT '[1,2]'::vector"

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield the URL of a database with pgvector on an embedded server."""
    with EmbeddedServer(settings={"listen_addresses": "127.0.0.1"}) as server:
        database = server.create_database("bench")
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        yield database


@pytest.fixture
def run() -> Iterator[Run]:
    """Yield a function that runs a coroutine in one event loop; close all pools at the end."""
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.run_until_complete(get_global_connection_manager().reset_all_pools())
    loop.close()


@pytest.mark.benchmark(group="warm get_connection_pool")
@pytest.mark.parametrize("with_store", [False, True])
def test_warm_get_connection_pool(
    benchmark: BenchmarkFixture, url: str, run: Run, *, with_store: bool
) -> None:
    """Look up the shared pool in the manager, which tracks each call."""

    class Store:
        pass

    store = Store() if with_store else None
    manager = get_global_connection_manager()
    first = run(manager.get_connection_pool(url, ConnectionPoolConfig(min_size=1), store))

    async def batch() -> object:
        pool = None
        for _ in itertools.repeat(None, BATCH):
            pool = await manager.get_connection_pool(url, None, store)
        return pool

    assert run(batch()) is first
    benchmark(lambda: run(batch()))
    subject = "nanospan, with a store_ref" if with_store else "nanospan"
    benchmark.extra_info.update(subject=subject, calls=BATCH)


@pytest.mark.benchmark(group="warm get_connection_pool")
def test_look_up_in_a_dict(benchmark: BenchmarkFixture, run: Run) -> None:
    """Look up a pool in a dict: the minimum cost of a look-up in a coroutine."""
    pools: dict[tuple[str, object], object] = {}

    async def get(url: str) -> object:
        return pools.get((url, asyncio.get_running_loop()))

    async def batch() -> object:
        pool = None
        for _ in itertools.repeat(None, BATCH):
            pool = await get("url")
        return pool

    assert run(batch()) is None
    benchmark(lambda: run(batch()))
    benchmark.extra_info.update(subject="a dict of URL and event loop", calls=BATCH)


async def read_vector(url: str, context: Any, *, register: bool) -> Any:
    """Connect, register pgvector's types in one of two ways, and read a vector."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True, context=context)
    async with connection:
        if register:
            await register_vector_async(connection)
        return await (await connection.execute(READ)).fetchone()


@pytest.mark.benchmark(group="connect, know the types, read a vector")
@pytest.mark.parametrize("way", ["shared map", "register_vector_async"])
def test_connect_with_types(benchmark: BenchmarkFixture, url: str, run: Run, way: str) -> None:
    """Open a new connection that reads a vector as ``pgvector.Vector``."""
    register = way == "register_vector_async"
    context = None
    if not register:
        manager = get_global_connection_manager()
        pool = run(manager.get_connection_pool(url, ConnectionPoolConfig(min_size=1)))

        async def leased_adapters() -> Any:
            async with pool.connection() as connection:
                return connection.adapters

        context = run(leased_adapters())
    assert run(read_vector(url, context, register=register)) == (Vector([1, 2]),)
    benchmark(lambda: run(read_vector(url, context, register=register)))
    benchmark.extra_info.update(subject=way if register else "nanospan", calls=1)


@pytest.mark.benchmark(group="an empty lease")
@pytest.mark.parametrize("subject", ["nanospan", "psycopg_pool"])
def test_empty_lease(benchmark: BenchmarkFixture, url: str, run: Run, subject: str) -> None:
    """Enter and leave an empty lease while a connection is idle."""
    manager = get_global_connection_manager()
    bare = AsyncConnectionPool(url, min_size=1, open=False)

    def lease() -> AbstractAsyncContextManager[Any]:
        return manager.lease(url) if subject == "nanospan" else bare.connection()

    async def batch() -> object:
        for _ in itertools.repeat(None, BATCH):
            async with lease() as connection:
                pass
        return connection

    run(manager.get_connection_pool(url, ConnectionPoolConfig(min_size=1)))
    run(bare.open(wait=True))
    assert isinstance(run(batch()), psycopg.AsyncConnection)
    benchmark(lambda: run(batch()))
    benchmark.extra_info.update(subject=subject, calls=BATCH)
    run(bare.close())
