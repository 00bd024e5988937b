"""Typical uses of the public interface, which mypy checks but which are never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from omegaconf import OmegaConf

from nanospan import (
    PerformanceMetric,
    PerformanceMonitor,
    PerformanceStats,
    Span,
    get_performance_monitor,
    track_performance,
)
from nanospan.alerts import Alert, Alerts, Sink, StatisticRule, WebhookSink
from nanospan.pool import (
    ConnectionPoolConfig,
    WarmupReport,
    get_global_connection_manager,
    get_sync_connection_manager,
    set_default_config,
)
from nanospan.regression import Comparison

monitor: PerformanceMonitor = get_performance_monitor()
own = PerformanceMonitor(500, max_operations=10)

with monitor.track_operation("op", {"k": 1}) as span:
    span.set(rows=3)
    span.fail("why")
    seconds: float = span.elapsed


async def asynchronous() -> None:
    async with monitor.track_operation("op") as span:
        also: Span = span
        also.fail(ValueError())


@track_performance("op")
def plain(a: int, *, b: str = "") -> float:
    return a + len(b)


@track_performance("op", {"k": 1})
async def coroutine(a: int) -> str:
    return str(a)


@monitor.track_operation("op")
def generator() -> Iterator[int]:
    yield 1


@track_performance("op")
async def async_generator() -> AsyncIterator[int]:
    yield 1


number: float = plain(1, b="x")


async def awaits() -> str:
    async for _ in async_generator():
        pass
    return await coroutine(1)


def alert(event: str, metric: PerformanceMetric) -> None:
    print(event, metric.operation, metric.duration)


monitor.add_alert_callback(alert)
monitor.remove_alert_callback(alert)
monitor.record_metric("op", 0.1, True, {"k": 1})
monitor.set_threshold("op", None)
stats: PerformanceStats | None = monitor.get_stats("op")
lines: list[str] = monitor.detect_regressions(monitor.get_all_stats())
comparisons: dict[str, Comparison] = monitor.compare(monitor.baseline({"commit": "4f2a91c"}))


async def on_alert(alert: Alert) -> None:
    print(alert.state, alert.summary, alert.labels["team"])


rule = StatisticRule(name="slow", operation="op", statistic="p95", above=0.1, labels={"team": "a"})
alerts: Alerts = monitor.alerts
alerts.add(rule)
sink: Sink = alerts.add_sink(on_alert)
alerts.add_sink(WebhookSink("env:HOOK_URL", headers={"A": "env:TOKEN"}, states=["firing"]))
active: list[Alert] = alerts.active()
alerts.close()


async def pools(url: str) -> None:
    set_default_config({"database": {"postgres": {"pool_size": "5"}}})
    set_default_config(ConnectionPoolConfig(recycle=None, vector_values="list"))
    manager = get_global_connection_manager()
    pool = await manager.get_connection_pool(url, OmegaConf.create({"postgres": {}}))
    async with pool.connection(label="recall") as connection:
        await connection.execute("SELECT 1")
    async with manager.lease(url, config={"postgres": {"pool_size": 5}}) as connection:
        await connection.execute("SELECT 1")
    with get_sync_connection_manager().lease(url, config={}) as other:
        other.execute("SELECT 1")
    reports: list[WarmupReport] = await manager.warmup_common_pools()
    closed: bool = await manager.close_pool(db_url=url) and not reports
    print(closed)
