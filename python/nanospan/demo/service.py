"""The demo's memory service, an example of an application that uses nanospan.

A conversation's turns go into a write buffer. A full buffer is written to layer M0, then
concurrently to M1 and M2, each on a separate connection. Questions are answered with the nearest
chunks in M1. The process-wide monitor times everything, and every connection comes from
``nanospan.pool``.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from psycopg.pq import TransactionStatus

from nanospan import get_performance_monitor, track_performance
from nanospan.demo import layers
from nanospan.pool import get_global_connection_manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from psycopg import AsyncConnection

    from nanospan.demo.corpus import Turn
    from nanospan.pool import ConnectionPoolConfig

THRESHOLDS = {"query": 0.050, "pool_health_check": 0.020}
"""Thresholds in seconds for operations without a default threshold."""


class MemoryService:
    """The memory of one conversation, for use by tasks on a single event loop.

    Args:
        url: The connection URL of the database.
        config: The settings of the connection pool that all services with this URL share.
        conversation: The number of the conversation.
        buffer_size: The number of turns to collect before writing them to the database.
        acquisitions: A list to which the time taken to lease each connection is appended, in
            seconds.
    """

    def __init__(
        self,
        url: str,
        config: ConnectionPoolConfig,
        conversation: int,
        buffer_size: int,
        acquisitions: list[float],
    ) -> None:
        self._url = url
        self._config = config
        self._conversation = conversation
        self._buffer_size = buffer_size
        self._buffer: list[Turn] = []
        self._acquisitions = acquisitions

    async def add(self, turn: Turn) -> None:
        """Add ``turn`` to the buffer, and flush the buffer when it is full."""
        self._buffer.append(turn)
        if len(self._buffer) >= self._buffer_size:
            await self.flush()

    @track_performance("buffer_flush")
    async def flush(self) -> None:
        """Write the buffered turns to all layers."""
        # Take the turns before the first await, because later ones belong to the next flush.
        turns, self._buffer = self._buffer, []
        if turns:
            ids = await self._write_turns(turns)
            await asyncio.gather(self._write_facts(turns, ids), self._write_chunk(turns, ids))

    @track_performance("query")
    async def recall(self, question: str) -> list[tuple[str, float]]:
        """Return the bodies and cosine distances of the chunks nearest to ``question``."""
        embedding = layers.embed_text(question)
        async with self._lease() as connection:
            return await layers.nearest_chunks(connection, embedding)

    @track_performance("m0_operation")
    async def _write_turns(self, turns: Sequence[Turn]) -> list[int]:
        async with self._lease() as connection:
            return await layers.store_turns(connection, self._conversation, turns)

    @track_performance("m1_operation")
    async def _write_chunk(self, turns: Sequence[Turn], ids: Sequence[int]) -> None:
        body = layers.chunk_body(turns)
        embedding = layers.embed_text(body)
        async with self._lease() as connection:
            await layers.store_chunk(connection, self._conversation, ids, body, embedding)

    @track_performance("m2_operation")
    async def _write_facts(self, turns: Sequence[Turn], ids: Sequence[int]) -> None:
        facts = layers.embed_facts(turns, ids)
        async with self._lease() as connection:
            await layers.store_facts(connection, facts)

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lease a connection in autocommit mode.

        Each layer is one statement, so this saves the round trips for ``BEGIN`` and ``COMMIT``.
        """
        started = time.perf_counter()
        manager = get_global_connection_manager()
        pool = await manager.get_connection_pool(self._url, self._config, store_ref=self)
        async with pool.connection() as connection:
            self._acquisitions.append(time.perf_counter() - started)
            await connection.set_autocommit(True)
            try:
                yield connection
            finally:
                # Other users of the pool expect transactions. A connection that is not idle is
                # broken or busy, and the pool will discard it.
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    await connection.set_autocommit(False)


class ServiceRegistry:
    """Holds the ``MemoryService`` of each conversation, for use on a single event loop.

    Args:
        url: The connection URL of the database.
        config: The settings of the connection pool that the services share.
        buffer_size: The number of turns that a service collects before writing them.
    """

    def __init__(self, url: str, config: ConnectionPoolConfig, buffer_size: int) -> None:
        self.acquisitions: list[float] = []
        self._url = url
        self._config = config
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
            service = MemoryService(
                self._url, self._config, conversation, self._buffer_size, self.acquisitions
            )
            self._services[conversation] = service
        manager = get_global_connection_manager()
        pool = await manager.get_connection_pool(self._url, self._config, store_ref=service)
        if not await manager.is_pool_healthy(pool, self._url):
            raise ConnectionError("the database did not respond to the health check")
        return service
