"""Tests for the demo's memory service on a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from typing import TYPE_CHECKING

import psycopg
import pytest

from nanospan import get_performance_monitor
from nanospan.demo import layers
from nanospan.demo.corpus import Turn, take_turns
from nanospan.demo.naive import NaiveMemory
from nanospan.demo.requests import Request, conversations
from nanospan.demo.service import ServiceRegistry
from nanospan.demo.workload import PooledMemory, Way
from nanospan.pool import ConnectionPoolConfig, GlobalConnectionManager

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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
    assert recorded["connection_pool_access"] == 3


async def test_question_is_answered_from_buffered_turns(
    url: str, manager: GlobalConnectionManager
) -> None:
    """A question writes the buffered turns first, and its answer can be one of them."""
    monitor = get_performance_monitor()
    monitor.clear_metrics()
    service = await ServiceRegistry(url, CONFIG, buffer_size=9).access(1)
    await service.add(Turn("ROMEO", "O me!"))
    assert [body for body, _ in await service.recall("O me!")] == ["ROMEO: O me!"]
    durations = [
        stats.avg_duration
        for name in ("query", "m2_operation", "m1_operation", "m0_operation", "buffer_flush")
        if (stats := monitor.get_stats(name)) is not None
    ]
    assert len(durations) == 5
    assert durations == sorted(durations)


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


async def test_a_failed_write_stores_nothing(url: str, manager: GlobalConnectionManager) -> None:
    """If a layer's write fails, its error is raised, and no layer keeps rows of the flush."""
    config = ConnectionPoolConfig(min_size=1, max_size=1)
    service = await ServiceRegistry(url, config, buffer_size=9).access(1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE m1_chunk ADD CHECK (body NOT LIKE '%curfew%')")
    await service.add(Turn("ROMEO", "O me!"))
    await service.add(Turn("CAPULET", "The curfew bell hath rung."))
    with pytest.raises(psycopg.errors.CheckViolation):
        await service.recall("bell")
    for table in layers.TABLES:
        assert _rows(url, f"SELECT * FROM {table}") == []
    await service.add(Turn("ROMEO", "O me!"))
    assert [body for body, _ in await service.recall("me")] == ["ROMEO: O me!"]


async def test_a_cancelled_request_leaves_the_pool_usable(
    url: str, manager: GlobalConnectionManager
) -> None:
    """After a request was cancelled while it waited for the server, the next one is served."""
    config = ConnectionPoolConfig(min_size=1, max_size=1)
    service = await ServiceRegistry(url, config, buffer_size=9).access(1)
    await service.add(Turn("ROMEO", "O me!"))
    with psycopg.connect(url) as blocking:
        blocking.execute("LOCK TABLE m1_chunk")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(service.recall("me"), 0.2)
    await service.add(Turn("JULIET", "Ay me!"))
    assert "JULIET: Ay me!" in [body for body, _ in await service.recall("me")]


async def test_a_request_takes_one_round_trip(
    url: str, manager: GlobalConnectionManager, tmp_path: Path
) -> None:
    """The client sends all statements of a request, and only then asks for their results."""
    config = ConnectionPoolConfig(min_size=1, max_size=1, health_check_interval=3600.0)
    memory = PooledMemory(ServiceRegistry(url, config, buffer_size=20))
    requests = [request for talk in conversations(take_turns(100)) for request in talk]
    await memory.serve(requests[0])
    pool = await manager.get_connection_pool(url)
    trace = tmp_path / "trace"
    with trace.open("wb") as file:
        async with pool.connection() as connection:
            connection.pgconn.trace(file.fileno())
        for request in requests[1:11]:
            await memory.serve(request)
        async with pool.connection() as connection:
            connection.pgconn.untrace()
    # The line of a message from the client: time, F (frontend), length, type and contents.
    sent = re.findall(r"^[^\t\n]+\tF\t\d+\t(\w+)", trace.read_text(), re.MULTILINE)
    assert sent.count("Sync") == 10
    assert sent.count("Bind") >= 30
    assert "Query" not in sent
    assert {before for before, this in pairwise(sent) if this == "Flush"} <= {"Sync"}


@pytest.mark.parametrize("turns_per_request", [2, 4])
async def test_both_ways_store_and_answer_the_same(
    url: str, manager: GlobalConnectionManager, turns_per_request: int
) -> None:
    """The naive way and the service store equal rows in all tables, and give equal answers."""
    talks = conversations(take_turns(100), turns_per_request)
    requests = [request for talk in talks for request in talk]

    async def results(way: Way) -> list[object]:
        answers = [await way.serve(request) for request in requests]
        queries = (f"SELECT {table}::text FROM {table} ORDER BY 1" for table in layers.TABLES)
        return [answers, *(_rows(url, query) for query in queries)]

    naive = NaiveMemory(url)
    naively = await results(naive)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(layers.SCHEMA)
    registry = ServiceRegistry(url, CONFIG, buffer_size=20)
    assert await results(PooledMemory(registry)) == naively
    assert [len(rows) for rows in naively[:3]] == [len(requests), 100, len(requests)]
    assert len(naive.acquisitions) == len(registry.database.acquisitions) == len(requests)


async def test_concurrent_services_store_every_turn_once(
    url: str, manager: GlobalConnectionManager
) -> None:
    """Services that share reserved ids store each turn once, and chunks name their own turns."""
    registry = ServiceRegistry(url, CONFIG, buffer_size=20)
    talks = conversations(take_turns(400))

    async def client(talk: Sequence[Request]) -> None:
        for request in talk:
            await PooledMemory(registry).serve(request)

    await asyncio.gather(*map(client, talks))
    stored = _rows(
        url,
        """
        SELECT t.conversation, string_agg(t.speaker || ': ' || t.body, E'\n' ORDER BY t.id), c.body
        FROM m1_chunk c JOIN m0_turn t ON t.id BETWEEN c.first_turn AND c.last_turn
        GROUP BY c.id, t.conversation ORDER BY c.first_turn
        """,
    )
    assert len(stored) == 200
    assert all(turns == body for _, turns, body in stored)
    assert _rows(url, "SELECT count(*) FROM m0_turn") == [(400,)]
