"""Time the same requests served in two ways: naively, without a pool, and by the memory service.

Each way has its own empty database on the same server. In each half of the conversations, a third
is served by a single client, to measure latency, and the rest by ``CLIENTS`` concurrent clients, to
measure throughput. A client serves whole conversations, one request after another. The single
client serves each conversation in both ways before the next, so that other load on the machine
slows both alike. The ways take turns at being first, so that warm-up effects favour neither.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
from psycopg import sql

from nanospan.demo import layers
from nanospan.demo.database import CONNECT_TIMEOUT
from nanospan.demo.naive import NaiveMemory
from nanospan.demo.requests import TURNS_PER_CONVERSATION, Request
from nanospan.demo.service import ServiceRegistry
from nanospan.pool import ConnectionPoolConfig, get_global_connection_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLIENTS = 8
CONNECTIONS = 8
"""The size of the service's pool.

Each client uses one connection at a time, so none ever waits for another.
"""
BUFFER_SIZE = TURNS_PER_CONVERSATION
"""The size of the service's write buffers, which a request's question empties before they fill."""
HEALTH_CHECK_INTERVAL = 2.0
"""Seconds between health checks; with the default, 5 minutes, a run would show hardly any."""


@dataclass
class Timings:
    """Measurements of one way of serving requests; times are in seconds.

    Attributes:
        acquisitions: The times taken to get a connection, for all clients.
        latencies: The time to serve each request while only one client runs.
        concurrent_requests: The number of requests served by ``CLIENTS`` concurrent clients.
        concurrent_seconds: The wall-clock time that the concurrent requests took.
        rows: The final number of rows in each table, keyed by table.
    """

    acquisitions: list[float]
    latencies: list[float] = field(default_factory=list)
    concurrent_requests: int = 0
    concurrent_seconds: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)


class Progress(Protocol):
    """A function that is called at the start of each stage to show the stage's progress."""

    def __call__(self, name: str, steps: int, /) -> Callable[[], None]:
        """Begin a stage of ``steps`` requests; return a function to call after each request."""


class Way(Protocol):
    """A way of serving requests: naively, without a pool, or by the memory service."""

    async def serve(self, request: Request) -> list[tuple[str, float]]:
        """Store the turns of ``request`` in all layers, and return the answer to its question."""


class PooledMemory:
    """Serves requests through the demo's memory service, which leases connections from a pool."""

    def __init__(self, registry: ServiceRegistry) -> None:
        self._registry = registry

    async def serve(self, request: Request) -> list[tuple[str, float]]:
        """Add the turns of ``request`` to the conversation's memory, and answer its question."""
        service = await self._registry.access(request.conversation)
        for turn in request.turns:
            await service.add(turn)
        return await service.recall(request.question)


async def compare(
    naive_url: str,
    nanospan_url: str,
    talks: Sequence[Sequence[Request]],
    progress: Progress,
) -> tuple[Timings, Timings]:
    """Time the naive way (without a pool) and the service on the same requests.

    All pools are closed at the end, even after a failure.

    Args:
        naive_url: The URL of an existing database for the naive way; the demo's tables in it are
            replaced.
        nanospan_url: The URL of another existing database, for the service; the demo's tables in it
            are also replaced.
        talks: The requests of each conversation, at least four conversations.
        progress: Called at the start of each stage to show its progress; see ``Progress``.

    Returns:
        The timings of the naive way and of the service.

    Raises:
        RuntimeError: If the two databases do not hold the same number of rows at the end.
    """
    half = len(talks) // 2
    config = ConnectionPoolConfig(
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        health_check_interval=HEALTH_CHECK_INTERVAL,
    )
    manager = get_global_connection_manager()
    try:
        for url in (naive_url, nanospan_url):
            await _create_tables(url)
        pool = await manager.get_connection_pool(nanospan_url, config)
        await pool.wait()
        registry = ServiceRegistry(nanospan_url, config, BUFFER_SIZE)
        naive_way, nanospan_way = NaiveMemory(naive_url), PooledMemory(registry)
        naive = Timings(naive_way.acquisitions)
        nanospan = Timings(registry.database.acquisitions)

        ways: list[tuple[str, Way, Timings]]
        ways = [("naive way", naive_way, naive), ("nanospan", nanospan_way, nanospan)]
        for part, order in ((talks[:half], ways), (talks[half:], ways[::-1])):
            alone = max(1, len(part) // 3)
            step = progress("in turn", 2 * sum(map(len, part[:alone])))
            for number, talk in enumerate(part[:alone]):
                for _, way, timings in order[:: -1 if number % 2 else 1]:
                    await _serve_alone(way, talk, timings, step)
            for name, way, timings in order:
                step = progress(name, sum(map(len, part[alone:])))
                await _serve_side_by_side(way, part[alone:], timings, step)

        await pool.check_health(config.connection_timeout)  # so that every run shows at least one

        naive.rows, nanospan.rows = await _count_rows(naive_url), await _count_rows(nanospan_url)
        if naive.rows != nanospan.rows:
            raise RuntimeError(
                "both ways must store the same number of rows in each table, "
                f"got {naive.rows} and {nanospan.rows}"
            )
        return naive, nanospan
    finally:
        await manager.close_all_pools(force=True)


async def _serve_alone(
    way: Way, talk: Sequence[Request], timings: Timings, step: Callable[[], None]
) -> None:
    """Time each request of a conversation while no other client runs."""
    for request in talk:
        started = time.perf_counter()
        await way.serve(request)
        timings.latencies.append(time.perf_counter() - started)
        step()


async def _serve_side_by_side(
    way: Way,
    talks: Sequence[Sequence[Request]],
    timings: Timings,
    step: Callable[[], None],
) -> None:
    """Time ``CLIENTS`` concurrent clients that serve the conversations."""
    waiting = iter(talks)

    async def client() -> None:
        for talk in waiting:
            for request in talk:
                await way.serve(request)
                step()

    started = time.perf_counter()
    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    try:
        await asyncio.gather(*clients)
    finally:
        # After a failure, the other clients must end before the caller closes the pools.
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    timings.concurrent_seconds += time.perf_counter() - started
    timings.concurrent_requests += sum(map(len, talks))


async def _create_tables(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=CONNECT_TIMEOUT
    ) as connection:
        await connection.execute(layers.SCHEMA)


async def _count_rows(url: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    async with await psycopg.AsyncConnection.connect(
        url, connect_timeout=CONNECT_TIMEOUT
    ) as connection:
        for table in layers.TABLES:
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            row: Any = await (await connection.execute(query)).fetchone()
            counts[table] = row[0]
    return counts
