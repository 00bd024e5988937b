"""Run the demo, from starting a PostgreSQL server to printing the results."""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection, sql

from nanospan import __version__, get_performance_monitor
from nanospan.demo.database import CONNECT_TIMEOUT, VOLATILE_SETTINGS, EmbeddedServer
from nanospan.demo.figures import Report, gain_figures, operation_figures
from nanospan.demo.interrupt import run_cancellable
from nanospan.demo.report import print_report, write_json
from nanospan.demo.requests import TURNS_PER_REQUEST, conversations
from nanospan.demo.screen import Screen
from nanospan.demo.workload import CLIENTS, compare

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nanospan.demo.corpus import Turn
    from nanospan.demo.requests import Request
    from nanospan.demo.workload import Progress, Timings

NAIVE_DATABASE = "naive"
NANOSPAN_DATABASE = "nanospan"


def run(
    turns: Sequence[Turn],
    serve_db: Path | None = None,
    json_path: Path | None = None,
    turns_per_request: int = TURNS_PER_REQUEST,
) -> Report:
    """Run the demo, and print its progress and results to standard output.

    This starts an event loop, so it must not be called from a coroutine. The PostgreSQL server is
    stopped and temporary data is deleted even if the demo fails.

    Args:
        turns: The dialogue to store, at least ``nanospan.demo.corpus.FEWEST_TURNS`` turns.
        serve_db: A folder in which to keep the database. After the results are printed, the server
            keeps running until a ``KeyboardInterrupt``, which ends the run normally.
        json_path: A file to write the figures to, as JSON.
        turns_per_request: The number of turns that each request stores.

    Returns:
        The figures measured in this run.

    Raises:
        EmbeddedServerError: If the server did not start, or cannot keep its data in ``serve_db``.
    """
    screen = Screen()
    started = time.perf_counter()
    with EmbeddedServer(serve_db) as server:
        place = f"in {server.data_path}, kept" if server.keeps_data else "temporary"
        screen.say(f"PostgreSQL started in {time.perf_counter() - started:.1f} s; data: {place}")
        report = _measure(server, turns, turns_per_request, screen, started)
        print_report(screen.console, report, get_performance_monitor().max_metrics_per_operation)
        if json_path is not None:
            write_json(json_path, report)
            screen.say(f"Figures written to {json_path}")
        if server.keeps_data:
            _serve(server, screen)
    return report


def _measure(
    server: EmbeddedServer,
    turns: Sequence[Turn],
    turns_per_request: int,
    screen: Screen,
    started: float,
) -> Report:
    """Time the demo's service and the naive way (without a pool), and return the figures."""
    talks = conversations(turns, turns_per_request)
    with screen.progress() as progress:
        version, naive, nanospan = run_cancellable(_work(server, talks, progress))
    setup: dict[str, Any] = {
        "nanospan": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "postgresql": f"{version // 10000}.{version % 10000}",
        "server_settings": {} if server.keeps_data else VOLATILE_SETTINGS,
        "turns": len(turns),
        "turns_per_request": turns_per_request,
        "requests": sum(map(len, talks)),
        "clients": CLIENTS,
    }
    return Report(
        setup=setup,
        operations=operation_figures(get_performance_monitor()),
        gains=gain_figures(naive, nanospan),
        rows=nanospan.rows,
        seconds=time.perf_counter() - started,
    )


async def _work(
    server: EmbeddedServer, talks: Sequence[Sequence[Request]], progress: Progress
) -> tuple[int, Timings, Timings]:
    """Create the two databases unless they exist, and run the comparison on them.

    Returns:
        The server's version as a number, and the timings of the naive way and of the service.
    """
    names = (NAIVE_DATABASE, NANOSPAN_DATABASE)
    async with await AsyncConnection.connect(
        server.url, autocommit=True, connect_timeout=CONNECT_TIMEOUT
    ) as connection:
        version = connection.info.server_version
        cursor = await connection.execute("SELECT datname FROM pg_database")
        known = {row[0] for row in await cursor.fetchall()}
        for name in names:
            if name not in known:
                query = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
                await connection.execute(query)
    naive_url, nanospan_url = map(server.database_url, names)
    return version, *await compare(naive_url, nanospan_url, talks, progress)


def _serve(server: EmbeddedServer, screen: Screen) -> None:
    """Keep the server running until Ctrl-C."""
    url = server.database_url(NANOSPAN_DATABASE)
    try:
        screen.say(f"\nServing {url}")
        screen.say(f"  psql '{url}' -c 'TABLE m0_turn LIMIT 5'")
        screen.say(f"Ctrl-C stops the server; the data stays in {server.data_path}.")
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        screen.say("Stopped.")
