"""Tests for the demo's memory service on a real PostgreSQL server."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from nanospan import get_performance_monitor
from nanospan.demo import layers
from nanospan.demo.corpus import Turn, take_turns
from nanospan.demo.naive import NaiveMemory
from nanospan.demo.requests import conversations
from nanospan.demo.service import MemoryService, ServiceRegistry
from nanospan.pool import ConnectionPoolConfig, GlobalConnectionManager

CONFIG = ConnectionPoolConfig(min_size=2, max_size=4)


@pytest.fixture
def url(bare_database: str) -> str:
    """Return the URL of a new database with the demo's tables."""
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute(layers.SCHEMA)
    return bare_database


def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


async def test_full_buffer_is_flushed_to_all_layers(
    url: str, manager: GlobalConnectionManager
) -> None:
    """The service writes its buffered turns into all three layers once the buffer is full."""
    service = await ServiceRegistry(url, CONFIG, buffer_size=2).access(7)
    await service.add(Turn("ROMEO", "I dreamt of fair Juliet."))
    assert _rows(url, "SELECT * FROM m0_turn") == []
    await service.add(Turn("BENVOLIO", "Madam!"))
    assert _rows(url, "SELECT conversation, speaker, body FROM m0_turn ORDER BY id") == [
        (7, "ROMEO", "I dreamt of fair Juliet."),
        (7, "BENVOLIO", "Madam!"),
    ]
    assert _rows(url, "SELECT last_turn - first_turn, vector_dims(embedding) FROM m1_chunk") == [
        (1, 384)
    ]
    assert _rows(url, "SELECT speaker, fact FROM m2_fact ORDER BY speaker") == [
        ("BENVOLIO", "answers ROMEO"),
        ("ROMEO", "speaks of Juliet"),
    ]


async def test_recall_finds_the_chunk_of_a_line(url: str, manager: GlobalConnectionManager) -> None:
    """Recalling a line of a conversation returns the chunk that contains the line first."""
    registry = ServiceRegistry(url, CONFIG, buffer_size=2)
    for talk in conversations(take_turns(200)):
        service = await registry.access(talk[0].conversation)
        for request in talk:
            for turn in request.turns:
                await service.add(turn)
    found = await (await registry.access(0)).recall(
        "you are all resolved rather to die than famish"
    )
    assert len(found) == layers.NEIGHBOURS
    assert "resolved rather to die" in found[0][0]
    distances = [distance for _, distance in found]
    assert distances == sorted(distances)


async def test_registry_keeps_one_service_per_conversation(
    url: str, manager: GlobalConnectionManager
) -> None:
    """Concurrent tasks that request the same conversation get the same service."""
    registry = ServiceRegistry(url, CONFIG, buffer_size=2)
    services = await asyncio.gather(*(registry.access(number % 2) for number in range(6)))
    assert services[0] is services[2] is services[4]
    assert services[0] is not services[1] is services[3]


async def test_operations_are_tracked(url: str, manager: GlobalConnectionManager) -> None:
    """Storing an exchange and asking a question records every operation."""
    monitor = get_performance_monitor()
    monitor.clear_metrics()
    service = await ServiceRegistry(url, CONFIG, buffer_size=1).access(1)
    await service.add(Turn("ROMEO", "O me!"))
    await service.recall("me")
    recorded = {name: stats.total_count for name, stats in monitor.get_all_stats().items()}
    for operation in ("service_access", "buffer_flush", "query"):
        assert recorded[operation] == 1
    for layer in ("m0_operation", "m1_operation", "m2_operation"):
        assert recorded[layer] == 1
    assert recorded["connection_pool_access"] == 5


async def test_lease_is_returned_without_autocommit(
    url: str, manager: GlobalConnectionManager
) -> None:
    """A connection returned to the pool is not in autocommit mode, even after an error."""
    config = ConnectionPoolConfig(min_size=1, max_size=1)
    service = await ServiceRegistry(url, config, buffer_size=1).access(1)
    await service.recall("warm")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE m1_chunk")
    with pytest.raises(psycopg.errors.UndefinedTable):
        await service.recall("gone")
    pool = await manager.get_connection_pool(url)
    async with pool.connection() as lease:
        assert not lease.autocommit


async def test_both_ways_write_the_same(url: str, manager: GlobalConnectionManager) -> None:
    """The naive implementation and the service store the same rows, including embeddings."""
    query = """
        SELECT t.speaker, t.body, c.body, c.embedding::text, f.fact, f.embedding::text
        FROM m0_turn t JOIN m1_chunk c ON t.id BETWEEN c.first_turn AND c.last_turn
        LEFT JOIN m2_fact f ON f.source_turn = t.id ORDER BY t.id, f.fact
    """
    requests = [request for talk in conversations(take_turns(100)) for request in talk]
    naive = NaiveMemory(url)
    for request in requests:
        await naive.serve(request)
    stored_naively = _rows(url, query)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(layers.SCHEMA)
    registry = ServiceRegistry(url, CONFIG, buffer_size=2)
    for request in requests:
        service: MemoryService = await registry.access(request.conversation)
        for turn in request.turns:
            await service.add(turn)
    assert _rows(url, query) == stored_naively
    assert len(stored_naively) >= 100
    assert len(naive.acquisitions) == len(requests)
