"""Pool measurements, named according to OpenTelemetry's conventions for database clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanospan.values.measurements import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanospan.pool.pool_base import PolicyPool

__all__ = ["measure"]

PREFIX = "db.client.connection."
"""Prefix of all metric and attribute names in OpenTelemetry's database client conventions."""


def measure(pools: Mapping[str, PolicyPool]) -> Iterator[Measurement]:
    """Yield measurements of ``pools``, whose keys become the reported pool names.

    See https://opentelemetry.io/docs/specs/semconv/database/database-metrics/
    """
    for name, pool in pools.items():
        yield from _measure_one({PREFIX + "pool.name": name}, pool)


def _measure_one(labels: dict[str, str], pool: PolicyPool) -> Iterator[Measurement]:
    min_size, max_size = pool.sizes
    statistics = pool.statistics

    def level(name: str, value: float, unit: str, description: str, **more: str) -> Measurement:
        attributes = labels | {PREFIX + key: text for key, text in more.items()}
        return Measurement(PREFIX + name, "up_down_counter", value, unit, description, attributes)

    connections = "{connection}"
    count = "Number of connections in the state given by the attribute"
    yield level("count", pool.idle_connections, connections, count, state="idle")
    yield level("count", len(pool.leases), connections, count, state="used")
    yield level("idle.max", max_size, connections, "Maximum number of idle connections allowed")
    yield level("idle.min", min_size, connections, "Minimum number of idle connections allowed")
    yield level("max", max_size, connections, "Maximum number of open connections allowed")
    waiting = pool.waiting_leases
    yield level("pending_requests", waiting, "{request}", "Requests waiting for a connection")
    yield Measurement(
        PREFIX + "timeouts",
        "counter",
        statistics.timeouts,
        "{timeout}",
        "Requests that failed because no connection became available in time",
        labels,
    )
    for name, operation, description in (
        ("create_time", statistics.connect, "Time it took to create a connection"),
        ("wait_time", statistics.wait, "Time it took to obtain an open connection from the pool"),
        ("use_time", statistics.hold, "Time between borrowing a connection and returning it"),
    ):
        yield Measurement(
            PREFIX + name, "histogram", operation.snapshot(), "s", description, labels
        )
