"""The demo's memory service, an example of an application that uses nanospan.

A conversation's turns go into a write buffer. The buffer is written to all three layers when it is
full, and before a question is answered with the nearest chunks in M1. All these statements go to
the server in one pipeline, so that they take one round trip and one transaction.

The process-wide monitor times everything, and every connection comes from ``nanospan.pool``. The
duration of a layer's write, of a flush and of a query is the time from sending its first statement
to the end of the pipeline, when the rows are committed and the answer is there. These durations
overlap: they do not add up to the duration of a request.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg.pq import TransactionStatus

from nanospan import get_performance_monitor, track_performance
from nanospan.demo import layers
from nanospan.pool import get_global_connection_manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from psycopg import AsyncConnection

    from nanospan.demo.corpus import Turn
    from nanospan.pool import ConnectionPoolConfig

    Track: TypeAlias = Callable[[str], None]

TURN_ID_BLOCK = 100
"""The number of turn ids that are reserved at a time."""
THRESHOLDS = {"query": 0.050, "pool_health_check": 0.020}
"""Thresholds in seconds for operations without a default threshold."""


class Database:
    """The database that all services of a registry share, for use on a single event loop.

    Args:
        url: The connection URL of the database.
        config: The settings of the connection pool.

    Attributes:
        acquisitions: The time taken to lease each connection, in seconds.
    """

    def __init__(self, url: str, config: ConnectionPoolConfig) -> None:
        self.acquisitions: list[float] = []
        self._url = url
        self._config = config
        self._free_ids: list[int] = []
        self._reserving = asyncio.Lock()

    async def is_healthy(self, user: object) -> bool:
        """Return True if the database responds; see ``lease`` for ``user``."""
        manager = get_global_connection_manager()
        pool = await manager.get_connection_pool(self._url, self._config, store_ref=user)
        return await manager.is_pool_healthy(pool, self._url)

    async def take_turn_ids(self, connection: AsyncConnection[Any], count: int) -> list[int]:
        """Return ``count`` unused ids for turns, reserving a block on ``connection`` if needed.

        Because the ids are known in advance, the rows of M1 and M2, which refer to turns, can be
        sent without waiting for the turns to be stored. Later calls get higher ids.
        """
        async with self._reserving:  # one block at a time, so that the ids stay in order
            while len(self._free_ids) < count:
                self._free_ids += await layers.reserve_turn_ids(connection, TURN_ID_BLOCK)
            taken, self._free_ids = self._free_ids[:count], self._free_ids[count:]
            return taken

    @asynccontextmanager
    async def lease(self, user: object) -> AsyncIterator[AsyncConnection[Any]]:
        """Lease a connection in autocommit mode.

        The statements of a pipeline are one transaction even so, and without ``BEGIN`` and
        ``COMMIT``.

        Args:
            user: An object that keeps the pool from being closed while it is alive.
        """
        started = time.perf_counter()
        manager = get_global_connection_manager()
        pool = await manager.get_connection_pool(self._url, self._config, store_ref=user)
        async with pool.connection() as connection:
            self.acquisitions.append(time.perf_counter() - started)
            await connection.set_autocommit(True)
            try:
                yield connection
            finally:
                # Other users of the pool expect transactions. A connection that is not idle is
                # broken or busy, and the pool will discard it.
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    await connection.set_autocommit(False)


class MemoryService:
    """The memory of one conversation, for use by tasks on a single event loop.

    Args:
        database: Where the memory is stored.
        conversation: The number of the conversation.
        buffer_size: The number of turns to collect before writing them to the database.
    """

    def __init__(self, database: Database, conversation: int, buffer_size: int) -> None:
        self._database = database
        self._conversation = conversation
        self._buffer_size = buffer_size
        self._buffer: list[Turn] = []

    async def add(self, turn: Turn) -> None:
        """Add ``turn`` to the buffer, and flush the buffer when it is full."""
        self._buffer.append(turn)
        if len(self._buffer) >= self._buffer_size:
            await self.flush()

    async def flush(self) -> None:
        """Write the buffered turns to all layers."""
        async with self._pipeline():
            pass

    async def recall(self, question: str) -> list[tuple[str, float]]:
        """Return the bodies and cosine distances of the chunks nearest to ``question``.

        Buffered turns are written first, so that the answer can come from them.
        """
        async with self._pipeline() as (connection, track):
            track("query")
            cursor = await layers.find_chunks(connection, layers.embed_text(question))
        return await cursor.fetchall()

    @asynccontextmanager
    async def _pipeline(self) -> AsyncIterator[tuple[AsyncConnection[Any], Track]]:
        """Run the block in a pipeline that begins with writing the buffered turns.

        Yields:
            The connection, and a function that times an operation until the end of the pipeline.
        """
        # Take the turns before the first await, because later ones belong to the next flush.
        turns, self._buffer = self._buffer, []
        with ExitStack() as spans:
            track = partial(_track, spans)
            if turns:
                track("buffer_flush")
            async with self._database.lease(self) as connection:
                ids = await self._database.take_turn_ids(connection, len(turns))
                async with connection.pipeline():
                    if turns:
                        await self._send_turns(connection, track, turns, ids)
                    yield connection, track

    async def _send_turns(
        self,
        connection: AsyncConnection[Any],
        track: Track,
        turns: Sequence[Turn],
        ids: Sequence[int],
    ) -> None:
        """Send the rows of all layers; the server stores each while the next is being prepared."""
        track("m0_operation")
        await layers.store_numbered_turns(connection, self._conversation, ids, turns)
        track("m1_operation")
        body = layers.chunk_body(turns)
        embedding = layers.embed_text(body)
        await layers.store_chunk(connection, self._conversation, ids, body, embedding)
        track("m2_operation")
        await layers.store_facts(connection, layers.embed_facts(turns, ids))


def _track(spans: ExitStack, operation: str) -> None:
    spans.enter_context(get_performance_monitor().track_operation(operation))


class ServiceRegistry:
    """Holds the ``MemoryService`` of each conversation, for use on a single event loop.

    Args:
        url: The connection URL of the database.
        config: The settings of the connection pool that the services share.
        buffer_size: The number of turns that a service collects before writing them.

    Attributes:
        database: The database that the services share.
    """

    def __init__(self, url: str, config: ConnectionPoolConfig, buffer_size: int) -> None:
        self.database = Database(url, config)
        self._buffer_size = buffer_size
        self._services: dict[int, MemoryService] = {}
        monitor = get_performance_monitor()
        for operation, seconds in THRESHOLDS.items():
            if operation not in monitor.thresholds:
                monitor.set_threshold(operation, seconds)

    @track_performance("service_access")
    async def access(self, conversation: int) -> MemoryService:
        """Return the service for ``conversation`` after checking that the database responds.

        Raises:
            ConnectionError: If the pool's health check failed.
        """
        service = self._services.get(conversation)
        if service is None:
            service = MemoryService(self.database, conversation, self._buffer_size)
            self._services[conversation] = service
        if not await self.database.is_healthy(service):
            raise ConnectionError("the database did not respond to the health check")
        return service
