"""Measure the cost of a scrape, and how long it delays an event loop: ``python benches/scrape.py``.

The peer is ``prometheus_client`` with histograms of the same operations, outcomes, bounds and
durations, so that both expositions have the same series. Times are medians over alternating rounds.
For the second table, a task on an event loop ticks every millisecond while the ASGI application of
each library answers scrapes on that loop. The table shows the longest gaps between two ticks. For
comparison, it also shows the gaps on a loop that is not scraped, and on a loop whose process also
runs a low-priority thread that hashes without the GIL for about as long as a scrape takes.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import random
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    make_asgi_app,
)

from nanospan import PerformanceMonitor
from nanospan.export.prometheus import DEFAULT_BUCKETS, Exposition, metrics_app
from nanospan.export.prometheus.apps import NICENESS
from nanospan.export.prometheus.exposition import compressed

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATIONS = 2_000
DURATIONS = 100  # per operation
ROUNDS = 7
SCRAPES = 15  # scrapes of each application while the loop ticks
TICK = 0.001  # seconds
LIMIT = 0.005
BUSY = 0.04  # seconds that the hashing thread runs
BLOCK = bytes(1 << 20)  # the data that the thread hashes repeatedly


def write(line: str) -> None:
    """Write a line to standard output and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def fill() -> tuple[PerformanceMonitor, CollectorRegistry]:
    """Return a monitor and a registry that hold the same durations."""
    monitor = PerformanceMonitor(max_metrics_per_operation=100)
    registry = CollectorRegistry()
    labels = ["operation"]
    histogram = Histogram(
        "nanospan_operation_duration_seconds",
        "How long executions of an operation took.",
        [*labels, "outcome"],
        buckets=DEFAULT_BUCKETS,
        registry=registry,
    )
    in_flight = Gauge("nanospan_operation_in_flight", "Under way.", labels, registry=registry)
    draw = random.Random(3)  # noqa: S311 - durations are no secret
    for number in range(OPERATIONS):
        name = f"operation {number}"
        for _ in range(DURATIONS):
            duration, success = draw.lognormvariate(-6.0, 1.0), draw.random() < 0.9
            monitor.record_metric(name, duration, success)
            histogram.labels(name, "ok" if success else "error").observe(duration)
        in_flight.labels(name).set(0)
    return monitor, registry


def samples(text: bytes, suffix: bytes = b"") -> dict[bytes, float]:
    """Return the values of the operations' series in an exposition, keyed by series.

    Args:
        text: The exposition in Prometheus's text format.
        suffix: The suffix of the metric names to return; the default returns all.
    """
    lines = (line.rsplit(b" ", 1) for line in text.splitlines() if line[:1] != b"#")
    return {
        series: float(value)
        for series, value in lines
        if series.partition(b"{")[0].endswith(suffix) and b"build" not in series
    }


def timed(work: Callable[[], Any]) -> float:
    """Return the duration of a call, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


async def scrape(app: Any) -> int:
    """Scrape an ASGI application; return the size of its response in bytes."""
    size = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal size
        size += len(message.get("body", b""))
        await asyncio.sleep(0)  # yields to the loop, like a server that writes to a socket

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/metrics",
        "headers": [],
        "query_string": b"",
    }
    await app(scope, receive, send)
    return size


async def hashing_app(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer an ASGI request after hashing in a low-priority thread, which spares the loop."""

    def work() -> None:
        end = time.perf_counter() + BUSY
        while time.perf_counter() < end:
            hashlib.sha256(BLOCK).digest()

    with ThreadPoolExecutor(1, initializer=os.nice, initargs=(NICENESS,)) as executor:
        await asyncio.get_running_loop().run_in_executor(executor, work)
    await send({"type": "http.response.body", "body": BLOCK})


async def gaps(app: Any | None) -> list[float]:
    """Return the longest gap between ticks during each scrape of ``app``, in seconds.

    If ``app`` is None, measure the gaps in the same number of pauses without a scrape.
    """
    found = []

    async def tick(longest: list[float]) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            longest[0] = max(longest[0], now - last)
            last = now

    for _ in range(SCRAPES):
        longest = [0.0]
        ticking = asyncio.ensure_future(tick(longest))
        await asyncio.sleep(20 * TICK)
        if app is not None:
            assert await scrape(app)
        await asyncio.sleep(20 * TICK)
        ticking.cancel()
        found.append(longest[0])
    return found


def main() -> None:
    """Measure and print both tables."""
    disable_created_metrics()
    write(f"CPython {platform.python_version()}, {OPERATIONS:,} operations in {ROUNDS} rounds")
    monitor, registry = fill()
    exposition = Exposition(monitor)
    ours, theirs = samples(exposition.render()), samples(generate_latest(registry))
    assert len(ours) == len(theirs)
    count = b"_count"
    counts = samples(exposition.render(), count)
    assert counts == samples(generate_latest(registry), count)
    assert sum(counts.values()) == OPERATIONS * DURATIONS
    write(f"{len(ours):,} series each\n")

    subjects: dict[str, Callable[[], Any]] = {
        "prometheus_client.generate_latest": lambda: generate_latest(registry),
        "nanospan, text": lambda: exposition.render("text"),
        "nanospan, OpenMetrics": lambda: exposition.render("openmetrics"),
        "nanospan, protobuf": lambda: exposition.render("protobuf"),
        "nanospan, text and gzip": lambda: compressed(exposition.encode("text")),
    }
    rounds = [[timed(work) for work in subjects.values()] for _ in range(ROUNDS)]
    peer, *_ = medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    write(f"{'one scrape':36}{'median ms':>12}{'of the peer':>14}{'bytes':>14}")
    for (subject, work), seconds in zip(subjects.items(), medians, strict=True):
        made = work()
        size = len(made if isinstance(made, bytes) else b"".join(made))
        write(f"{subject:36}{seconds * 1e3:12.2f}{f'1/{peer / seconds:.0f}':>14}{size:14,}")

    write(f"\n{'longest gap of a 1 ms tick':36}{'median ms':>12}{'worst ms':>14}{'over 5 ms':>14}")
    for subject, app in {
        "not scraped": None,
        "a thread that hashes": hashing_app,
        "nanospan.metrics_app": metrics_app(exposition),
        "prometheus_client.make_asgi_app": make_asgi_app(registry),
    }.items():
        found = asyncio.run(gaps(app))
        over = sum(gap > LIMIT for gap in found)
        middle, worst = statistics.median(found) * 1e3, max(found) * 1e3
        write(f"{subject:36}{middle:12.2f}{worst:14.2f}{f'{over} of {len(found)}':>14}")


if __name__ == "__main__":
    main()
