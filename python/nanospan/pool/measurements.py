"""The pools' state for exporters, in OpenTelemetry's words for database clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanospan.values.measurements import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from nanospan.pool.shared_pool import SharedPool

__all__ = ["measure"]

PREFIX = "db.client.connection."
"""Of OpenTelemetry's semantic conventions for database client metrics."""


def measure(pools: Mapping[str, SharedPool[Any]]) -> Iterator[Measurement]:
    """The measurements of pools, by the names under which they are to appear.

    See https://opentelemetry.io/docs/specs/semconv/database/database-metrics/
    """
    for name, shared in pools.items():
        yield from _measure_one({PREFIX + "pool.name": name}, shared)


def _measure_one(pool: dict[str, str], shared: SharedPool[Any]) -> Iterator[Measurement]:
    policy = shared.policy
    min_size, max_size = shared.pool.sizes

    def level(name: str, value: float, unit: str, description: str, **more: str) -> Measurement:
        attributes = pool | {PREFIX + key: text for key, text in more.items()}
        return Measurement(PREFIX + name, "up_down_counter", value, unit, description, attributes)

    connections = "{connection}"
    count = "Connections that are in the state described by the attribute"
    yield level("count", shared.pool.idle_connections, connections, count, state="idle")
    yield level("count", len(policy.leases), connections, count, state="used")
    yield level("idle.max", max_size, connections, "Most idle connections allowed")
    yield level("idle.min", min_size, connections, "Fewest idle connections allowed")
    yield level("max", max_size, connections, "Most open connections allowed")
    waiting = shared.pool.waiting_leases
    yield level("pending_requests", waiting, "{request}", "Requests that wait for a connection")
    yield Measurement(
        PREFIX + "timeouts",
        "counter",
        policy.timeouts,
        "{timeout}",
        "Requests that failed because no connection came in time",
        pool,
    )
    for name, operation, description in (
        ("create_time", policy.connect, "Time it took to create a connection"),
        ("wait_time", policy.wait, "Time it took to obtain an open connection from the pool"),
        ("use_time", policy.hold, "Time between borrowing a connection and returning it"),
    ):
        yield Measurement(PREFIX + name, "histogram", operation.snapshot(), "s", description, pool)
