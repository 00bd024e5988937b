"""Pools under load, compared with psycopg_pool set up by hand and with asyncpg's pool.

python benches/pool_load.py            everything, about two minutes
python benches/pool_load.py lease      the cost of a lease when a connection is idle
python benches/pool_load.py load       1,000 and 10,000 tasks over 20 connections
python benches/pool_load.py burst      growth from 1 to 16 connections, 5 ms away
python benches/pool_load.py memory     3,000 connections, opened and closed

Each part prints a table and compares a figure with its limit; the exit status is 1 if the figure
misses its limit or a request failed. The subjects take turns in one process on one embedded server
(in separate processes for ``memory``), so that ratios are reliable even on a noisy machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
from pgvector.psycopg import register_vector_async
from psycopg_pool import AsyncConnectionPool

from nanospan import PerformanceMonitor
from nanospan.demo.database import EmbeddedServer
from nanospan.pool import ConnectionPoolConfig, get_global_connection_manager

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from slow_proxy import SlowProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    Acquire = Callable[[], AbstractAsyncContextManager[Any]]

CONNECTIONS = 20
PATIENCE = 120.0
"""Maximum wait for a connection, in seconds; the last of 10,000 tasks waits less."""
TASKS = (1_000, 10_000)
CALLS = 2_000  # empty leases per round
ROUNDS = 15
ROUND_TRIP = 0.005
BURST = 16
BURSTS = 5
OPENED = 3_000

LEASE_LIMIT = 1.15
"""Maximum duration of a lease, as a multiple of psycopg_pool's."""
BURST_LIMIT = 8.0
"""Minimum ratio of the median wait with ``register_vector_async`` to that with nanospan."""
MEMORY_LIMIT_MB = 1.0
"""Maximum growth of resident memory after all connections are closed, in MB."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Compare connection pools under load.")
    parser.add_argument("part", nargs="?", choices=["all", *PARTS], default="all")
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.5,
        help="duration of each run of the load part, in seconds",
    )
    parser.add_argument("--grow", choices=GROWERS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--opened", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grow:
        asyncio.run(grow(arguments.grow, arguments.url, arguments.opened))
        return 0
    settings = {"listen_addresses": "127.0.0.1", "max_connections": "200"}
    with EmbeddedServer(settings=settings) as server:
        url = server.create_database("load")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        parts = PARTS if arguments.part == "all" else {arguments.part: PARTS[arguments.part]}
        met = [asyncio.run(part(url, arguments.seconds)) for part in parts.values()]
    return 0 if all(met) else 1


@asynccontextmanager
async def nanospan_pool(url: str, size: int, min_size: int | None = None) -> AsyncIterator[Acquire]:
    """Yield a function that leases a connection of nanospan's shared pool."""
    manager = get_global_connection_manager()
    config = ConnectionPoolConfig(
        min_size=size if min_size is None else min_size, max_size=size, timeout=PATIENCE
    )
    await manager.warmup_common_pools([url], config, strict=True)
    try:
        yield lambda: manager.lease(url)
    finally:
        await manager.close_all_pools()


@asynccontextmanager
async def bare_pool(url: str, size: int, min_size: int | None = None) -> AsyncIterator[Acquire]:
    """Yield ``connection`` of a psycopg_pool pool, set up as its and pgvector's docs recommend."""
    pool = AsyncConnectionPool(
        url,
        configure=register_types,
        min_size=size if min_size is None else min_size,
        max_size=size,
        timeout=PATIENCE,
        open=False,
    )
    async with pool:
        await pool.wait()
        yield pool.connection


async def register_types(connection: psycopg.AsyncConnection[Any]) -> None:
    """Register pgvector's types, as pgvector's documentation recommends for ``configure``."""
    await register_vector_async(connection)


@asynccontextmanager
async def asyncpg_pool(url: str, size: int, min_size: int | None = None) -> AsyncIterator[Acquire]:
    """Yield ``acquire`` of an asyncpg pool, whose connections do not register pgvector's types."""
    least = size if min_size is None else min_size
    async with asyncpg.create_pool(url, min_size=least, max_size=size) as pool:
        yield pool.acquire


async def ask_psycopg(connection: Any) -> None:
    """Execute a statement in the transaction that psycopg begins and the lease commits."""
    await (await connection.execute("SELECT 1")).fetchone()


async def ask_asyncpg(connection: Any) -> None:
    """Execute a statement in an explicit transaction with asyncpg."""
    async with connection.transaction():
        await connection.fetchval("SELECT 1")


SUBJECTS = {
    "nanospan": (nanospan_pool, ask_psycopg),
    "psycopg_pool": (bare_pool, ask_psycopg),
    "asyncpg": (asyncpg_pool, ask_asyncpg),
}


async def lease(url: str, _seconds: float) -> bool:
    """Compare the time of an empty lease, without waiting, between the subjects."""
    times: dict[str, list[float]] = {name: [] for name in SUBJECTS}

    async def once(acquire: Acquire) -> float:
        began = perf_counter()
        for _ in range(CALLS):
            async with acquire():
                pass
        return (perf_counter() - began) / CALLS

    async with (
        nanospan_pool(url, 4) as ours,
        bare_pool(url, 4) as bare,
        asyncpg_pool(url, 4) as theirs,
    ):
        for _ in range(ROUNDS):
            for name, acquire in zip(SUBJECTS, (ours, bare, theirs), strict=True):
                times[name].append(await once(acquire))
    print(f"\nAn empty lease, {ROUNDS} rounds of {CALLS:,}\n")
    for name, seconds in times.items():
        print(f"  {name:14}{statistics.median(seconds) * 1e6:8.2f} µs")
    ratios = [a / b for a, b in zip(times["nanospan"], times["psycopg_pool"], strict=True)]
    ratio = statistics.median(ratios)
    return verdict(
        f"{ratio:.2f} x psycopg_pool's connection()", ratio <= LEASE_LIMIT, "at most 1.15"
    )


async def load(url: str, seconds: float) -> bool:
    """Compare throughput and waits when many tasks lease a connection and execute a statement."""
    failed = 0
    for tasks in TASKS:
        print(f"\n{tasks:,} tasks over {CONNECTIONS} connections, twice {seconds:g} s each\n")
        print(f"  {'':14}{'requests/s':>11}{'wait p50':>12}{'p95':>12}{'p99':>12}{'errors':>8}")
        totals = {name: Load() for name in SUBJECTS}
        # In both orders, because the speed of the server and the machine changes over time.
        for name in (*SUBJECTS, *reversed(SUBJECTS)):
            open_pool, ask = SUBJECTS[name]
            async with open_pool(url, CONNECTIONS) as acquire:
                await run_tasks(acquire, ask, tasks, seconds, totals[name])
        for name, total in totals.items():
            wait = total.wait.snapshot()
            waits = "".join(f"{wait.quantile(q) * 1e3:9.1f} ms" for q in (0.5, 0.95, 0.99))
            print(f"  {name:14}{total.requests / total.seconds:11,.0f}{waits}{total.errors:8}")
        failed += totals["nanospan"].errors
    return verdict(f"{failed} requests of nanospan failed", failed == 0, "none")


class Load:
    """The accumulated results of one subject under load."""

    def __init__(self) -> None:
        self.wait = PerformanceMonitor(1).operation("wait")
        self.requests = self.errors = 0
        self.seconds = 0.0


async def run_tasks(acquire: Acquire, ask: Any, tasks: int, seconds: float, total: Load) -> None:
    """Run ``tasks`` tasks for ``seconds``; add their requests, waits and errors to ``total``."""
    began = perf_counter()

    async def work() -> None:
        # Each task makes at least one request, so that the last one in the queue is also counted.
        while True:
            asked = perf_counter()
            try:
                async with acquire() as connection:
                    total.wait.record(perf_counter() - asked)
                    await ask(connection)
                total.requests += 1
            except Exception as exc:  # noqa: BLE001 - counted, and the first one is printed
                total.errors += 1
                if total.errors == 1:
                    print(f"  first error: {exc!r}")
            if perf_counter() - began >= seconds:
                return

    await asyncio.gather(*(work() for _ in range(tasks)))
    total.seconds += perf_counter() - began


async def burst(url: str, _seconds: float) -> bool:
    """Compare waits when 16 requests reach a pool with one connection, 5 ms from its server."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    waits: dict[str, list[float]] = {"nanospan": [], "register_vector_async": []}
    with SlowProxy(port, ROUND_TRIP) as proxy:
        far = url.replace(f":{port}/", f":{proxy.port}/")
        for _ in range(BURSTS):
            for name, open_pool in (
                ("nanospan", nanospan_pool),
                ("register_vector_async", bare_pool),
            ):
                async with open_pool(far, BURST, 1) as acquire:
                    waits[name] += await burst_once(acquire)
    print(f"\n{BURST} requests at once, 1 to {BURST} connections, {ROUND_TRIP * 1e3:g} ms away\n")
    print(f"  {'':24}{'wait p50':>12}{'max':>12}")
    for name, seconds in waits.items():
        print(f"  {name:24}{statistics.median(seconds) * 1e3:9.1f} ms{max(seconds) * 1e3:9.1f} ms")
    ours, theirs = (statistics.median(seconds) for seconds in waits.values())
    return verdict(
        f"p50 {theirs / ours:.1f} x shorter than with register_vector_async",
        theirs / ours >= BURST_LIMIT,
        "at least 8",
    )


async def burst_once(acquire: Acquire) -> list[float]:
    """Make ``BURST`` requests that hold their connections until all have one; return the waits."""
    waited: list[float] = []
    everyone = asyncio.Event()
    began = perf_counter()

    async def request() -> None:
        async with acquire():
            waited.append(perf_counter() - began)
            if len(waited) == BURST:
                everyone.set()
            await everyone.wait()

    await asyncio.gather(*(request() for _ in range(BURST)))
    return waited


async def memory(url: str, _seconds: float) -> bool:
    """Compare how much memory remains in use after connections are closed."""
    print(f"\n{OPENED:,} connections opened and closed\n")
    grown = {}
    for name in GROWERS:
        growing = ["--grow", name, "--url", url, "--opened", str(OPENED)]
        command = [sys.executable, __file__, *growing]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603, ASYNC221
        grown[name] = float(finished.stdout)
        print(f"  {name:24}{grown[name]:8.2f} MB")
    ours = grown["nanospan"]
    return verdict(f"{ours:.2f} MB of resident memory stay", ours < MEMORY_LIMIT_MB, "below 1")


async def grow(way: str, url: str, opened: int) -> None:
    """Open and close ``opened`` connections; print by how many MB the resident memory grew."""
    # The first connections fill caches and free lists, which do not grow any further.
    await GROWERS[way](url, opened // 10)
    before = resident_mb()
    await GROWERS[way](url, opened)
    print(resident_mb() - before)


async def grow_nanospan(url: str, count: int) -> None:
    """Open and close ``count`` connections of a null pool, one for each lease."""
    manager = get_global_connection_manager()
    config = ConnectionPoolConfig(null_pool=True)
    for _ in range(count):
        async with manager.lease(url, config=config) as connection:
            await (await connection.execute("SELECT '[1]'::vector")).fetchone()


async def grow_register(url: str, count: int) -> None:
    """Open and close ``count`` connections, with pgvector's ``register_vector_async``."""
    for _ in range(count):
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await register_vector_async(connection)
            await (await connection.execute("SELECT '[1]'::vector")).fetchone()


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def verdict(text: str, met: bool, limit: str) -> bool:
    """Print a figure, its limit and whether the limit was met; return ``met``."""
    print(f"\n  {'met' if met else 'MISSED'}: {text} (limit: {limit})", flush=True)
    return met


PARTS = {"lease": lease, "load": load, "burst": burst, "memory": memory}
GROWERS = {"nanospan": grow_nanospan, "register_vector_async": grow_register}

if __name__ == "__main__":
    sys.exit(main())
