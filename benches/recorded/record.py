"""Record the durations of real operations, which serve as noise in the regression tests.

python benches/recorded/record.py OUT.npz [--rounds 8000]

Eight kinds of work take turns, as in a service: queries and committed inserts on PostgreSQL with
pgvector, writes to SQLite and to a file, JSON, compression, a round trip between threads, and an
HTTP request. The output holds an array of durations per kind of work, in whole nanoseconds.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import itertools
import json
import os
import queue
import sqlite3
import tempfile
import threading
import time
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psycopg

from nanospan.demo.database import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def postgres() -> Iterator[dict[str, Callable[[], object]]]:
    """Yield functions for a nearest-neighbour query and a committed insert, keyed by name."""
    random = np.random.default_rng(1)
    with (
        EmbeddedServer(settings={"fsync": "on"}) as server,
        psycopg.connect(server.url, autocommit=True) as connection,
    ):
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE chunks (id serial PRIMARY KEY, embedding vector(64))")
        vectors = [str(list(map(float, v))) for v in random.normal(size=(2_000, 64)).round(3)]
        for vector in vectors:
            connection.execute("INSERT INTO chunks (embedding) VALUES (%s)", [vector])
        connection.execute("CREATE INDEX ON chunks USING hnsw (embedding vector_l2_ops)")
        asked = itertools.cycle(vectors)
        query = "SELECT id FROM chunks ORDER BY embedding <-> %s LIMIT 5"
        connection.execute("CREATE TABLE turns (id serial PRIMARY KEY, text text)")
        insert = "INSERT INTO turns (text) VALUES (%s)"
        yield {
            "nearest neighbours": lambda: connection.execute(query, [next(asked)]).fetchall(),
            "committed insert": lambda: connection.execute(insert, ["Speak, I charge thee."]),
        }


@contextmanager
def files(folder: Path) -> Iterator[dict[str, Callable[[], object]]]:
    """Yield functions for an SQLite transaction and a write synced to disk, keyed by name."""
    database = sqlite3.connect(folder / "sqlite", isolation_level=None)
    database.execute("CREATE TABLE turns (text)")
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def append() -> None:
        os.write(log, b"x" * 500)
        os.fdatasync(log)

    try:
        yield {
            "sqlite insert": lambda: database.execute("INSERT INTO turns VALUES ('Stay!')"),
            "synced append": append,
        }
    finally:
        database.close()
        os.close(log)


@contextmanager
def computing() -> Iterator[dict[str, Callable[[], object]]]:
    """Yield functions for a JSON round trip and a compression of varying data, keyed by name."""
    random = np.random.default_rng(2)
    documents = [
        {str(k): list(map(float, random.normal(size=5))) for k in range(random.integers(5, 30))}
        for _ in range(97)
    ]
    texts = [json.dumps(document).encode() for document in documents]
    document, text = itertools.cycle(documents), itertools.cycle(texts)
    yield {
        "json": lambda: json.loads(json.dumps(next(document))),
        "compression": lambda: zlib.compress(next(text)),
    }


@contextmanager
def waiting() -> Iterator[dict[str, Callable[[], object]]]:
    """Yield functions for a round trip between threads and a local HTTP request, keyed by name."""
    there: queue.SimpleQueue[str] = queue.SimpleQueue()
    back: queue.SimpleQueue[str] = queue.SimpleQueue()

    def echo() -> None:
        while there.get():
            back.put("go")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 8192  # with unbuffered small writes, each would wait 40 ms for the previous one

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threads = [threading.Thread(target=t, daemon=True) for t in (echo, server.serve_forever)]
    for thread in threads:
        thread.start()
    client = http.client.HTTPConnection("127.0.0.1", server.server_address[1])

    def hand_over() -> None:
        there.put("go")
        back.get()

    def request() -> None:
        client.request("GET", "/")
        client.getresponse().read()

    try:
        yield {"thread hand-over": hand_over, "http request": request}
    finally:
        there.put("")
        client.close()
        server.shutdown()
        server.server_close()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=8_000)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work: dict[str, Callable[[], object]] = {}
        for source in (postgres(), files(folder), computing(), waiting()):
            work |= stack.enter_context(source)
        taken = {name: np.empty(arguments.rounds, np.uint32) for name in work}
        for turn in range(arguments.rounds):
            for name, run in work.items():
                start = time.perf_counter_ns()
                run()
                taken[name][turn] = time.perf_counter_ns() - start
    np.savez_compressed(arguments.out, **taken)


if __name__ == "__main__":
    main()
