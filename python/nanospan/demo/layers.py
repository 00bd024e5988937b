"""The SQL of the three memory layers: turns (M0), embedded chunks (M1) and embedded facts (M2).

The demo's service and the naive implementation that it is compared with both call these functions.
They store the same rows and ask the same question, with one statement for each. They differ in how
they get a connection and the turns' ids: the naive way lets the database assign the ids and waits
for them, while the service reserves ids, so that it can send all its statements in a pipeline.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pgvector import Vector

from nanospan.demo.embedding import DIMENSIONS, embed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection, AsyncCursor

    from nanospan.demo.corpus import Turn

NEIGHBOURS = 5
"""The number of chunks that a query returns."""

SCHEMA = f"""
CREATE EXTENSION IF NOT EXISTS vector;
DROP TABLE IF EXISTS m0_turn, m1_chunk, m2_fact;
CREATE TABLE m0_turn (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation integer NOT NULL,
    speaker text NOT NULL,
    body text NOT NULL
);
CREATE TABLE m1_chunk (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation integer NOT NULL,
    first_turn bigint NOT NULL,
    last_turn bigint NOT NULL,
    body text NOT NULL,
    embedding vector({DIMENSIONS}) NOT NULL
);
CREATE INDEX ON m1_chunk USING hnsw (embedding vector_cosine_ops);
CREATE TABLE m2_fact (
    speaker text,
    fact text,
    source_turn bigint NOT NULL,
    embedding vector({DIMENSIONS}) NOT NULL,
    PRIMARY KEY (speaker, fact)
);
CREATE INDEX ON m2_fact USING hnsw (embedding vector_cosine_ops);
"""

TABLES = ("m0_turn", "m1_chunk", "m2_fact")

_INSERT_TURNS = """
INSERT INTO m0_turn (conversation, speaker, body)
SELECT %s, speaker, body
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS turn (speaker, body, place)
ORDER BY place
RETURNING id
"""

_RESERVE_IDS = """
SELECT nextval(pg_get_serial_sequence('m0_turn', 'id')) FROM generate_series(1, %s)
"""

_INSERT_NUMBERED_TURNS = """
INSERT INTO m0_turn (id, conversation, speaker, body) OVERRIDING SYSTEM VALUE
SELECT id, %s, speaker, body
FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS turn (id, speaker, body)
"""

_INSERT_CHUNK = """
INSERT INTO m1_chunk (conversation, first_turn, last_turn, body, embedding)
VALUES (%s, %s, %s, %s, %s)
"""

_INSERT_FACTS = """
INSERT INTO m2_fact (speaker, fact, source_turn, embedding)
SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %b::vector[])
ON CONFLICT DO NOTHING
"""

_NEAREST_CHUNKS = f"""
SELECT body, embedding <=> %s AS distance FROM m1_chunk ORDER BY distance LIMIT {NEIGHBOURS}
"""  # noqa: S608 - a constant, and as a parameter it would keep the server from reusing the plan

# A capitalised word inside a sentence: a person, a place or a god.
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}")


async def store_turns(
    connection: AsyncConnection[Any], conversation: int, turns: Sequence[Turn]
) -> list[int]:
    """Store ``turns`` in layer M0, and return the ids of the turns in the same order."""
    cursor = await connection.execute(
        _INSERT_TURNS, (conversation, [turn.speaker for turn in turns], [t.text for t in turns])
    )
    return [row[0] for row in await cursor.fetchall()]


async def reserve_turn_ids(connection: AsyncConnection[Any], count: int) -> list[int]:
    """Return ``count`` ids that the database will not assign to other turns, in rising order."""
    cursor = await connection.execute(_RESERVE_IDS, (count,))
    return [row[0] for row in await cursor.fetchall()]


async def store_numbered_turns(
    connection: AsyncConnection[Any], conversation: int, ids: Sequence[int], turns: Sequence[Turn]
) -> None:
    """Store ``turns`` in layer M0, under ids that were reserved with ``reserve_turn_ids``."""
    columns = ([turn.speaker for turn in turns], [turn.text for turn in turns])
    await connection.execute(_INSERT_NUMBERED_TURNS, (conversation, list(ids), *columns))


async def store_chunk(
    connection: AsyncConnection[Any],
    conversation: int,
    ids: Sequence[int],
    body: str,
    embedding: Vector,
) -> None:
    """Store a chunk in layer M1: text, embedding, and ids of the chunk's first and last turns."""
    await connection.execute(_INSERT_CHUNK, (conversation, ids[0], ids[-1], body, embedding))


async def store_facts(
    connection: AsyncConnection[Any], facts: Sequence[tuple[str, str, int, Vector]]
) -> None:
    """Store ``facts`` in layer M2, skipping those that are already there.

    Each fact is a tuple of speaker, statement, id of the source turn, and embedding. The facts must
    be sorted, as those from ``embed_facts`` are: transactions that insert the same facts in the
    same order wait for each other instead of deadlocking.
    """
    if facts:
        await connection.execute(
            _INSERT_FACTS, [list(column) for column in zip(*facts, strict=True)]
        )


async def find_chunks(
    connection: AsyncConnection[Any], embedding: Vector
) -> AsyncCursor[tuple[str, float]]:
    """Query the bodies and cosine distances of the ``NEIGHBOURS`` nearest chunks.

    In a pipeline, the rows can be fetched from the returned cursor after the pipeline's end.
    """
    return await connection.execute(_NEAREST_CHUNKS, (embedding,))


def embed_text(text: str) -> Vector:
    """Embed the text of a chunk, fact or question, for use with a ``vector`` column."""
    return Vector(embed(text))


def chunk_body(turns: Sequence[Turn]) -> str:
    """Return the text of a chunk: one ``SPEAKER: text`` entry for each turn."""
    return "\n".join(f"{turn.speaker}: {turn.text}" for turn in turns)


def embed_facts(turns: Sequence[Turn], ids: Sequence[int]) -> list[tuple[str, str, int, Vector]]:
    """Extract the facts in ``turns``: who answers whom, and which names each speaker mentions.

    Each fact is a tuple of speaker, statement, id of the source turn, and embedding.
    """
    found: dict[tuple[str, str], int] = {}
    previous = None
    for turn, turn_id in zip(turns, ids, strict=True):
        if previous is not None and previous != turn.speaker:
            found.setdefault((turn.speaker, f"answers {previous}"), turn_id)
        for name in _NAME.findall(turn.text):
            found.setdefault((turn.speaker, f"speaks of {name}"), turn_id)
        previous = turn.speaker
    return [
        (speaker, statement, turn_id, embed_text(f"{speaker} {statement}"))
        for (speaker, statement), turn_id in sorted(found.items())
    ]
