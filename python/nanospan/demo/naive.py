"""The naive way to serve requests: a new connection for each, and one memory layer at a time.

Nothing is deliberately slow. For each request, a connection is opened, the vector types are
registered, the same rows are written and the same question is asked as by ``MemoryService``, with
one statement for each in its own transaction, and the connection is closed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection

from nanospan.demo import layers
from nanospan.demo.database import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from nanospan.demo.requests import Request


class NaiveMemory:
    """Serves each request on a new connection, without a pool.

    Attributes:
        acquisitions: The time taken to open each connection, in seconds.
    """

    def __init__(self, url: str) -> None:
        self.acquisitions: list[float] = []
        self._url = url

    async def serve(self, request: Request) -> list[tuple[str, float]]:
        """Write the turns of ``request`` to all memory layers and answer its question."""
        started = time.perf_counter()
        async with await AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT
        ) as connection:
            await register_vector_async(connection)
            self.acquisitions.append(time.perf_counter() - started)

            ids = await layers.store_turns(connection, request.conversation, request.turns)

            body = layers.chunk_body(request.turns)
            embedding = layers.embed_text(body)
            await layers.store_chunk(connection, request.conversation, ids, body, embedding)

            await layers.store_facts(connection, layers.embed_facts(request.turns, ids))

            cursor = await layers.find_chunks(connection, layers.embed_text(request.question))
            return await cursor.fetchall()
