"""A service with leases, exports, alerts and scrapes, whose clients and server misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

import psycopg
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from processes import fork_and_wait
from psycopg_pool import PoolTimeout
from receiver import Receiver
from tally import Tally, differences

from nanospan import PerformanceMonitor
from nanospan.alerts import FunctionSink, JsonLinesSink, StatisticRule, WebhookSink
from nanospan.export.otlp import OtlpExporter
from nanospan.export.periodic import export_periodically
from nanospan.export.prometheus import start_http_server
from nanospan.pool import SyncVectorPool, VectorPool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nanospan import Measurement, MonitorSnapshot

CLIENTS = 12
THREADS = 2
CONNECTIONS = 5
PULSE_SECONDS = 0.3
"""How long the watched operation is slow before it is fast for as long, and so on."""
KILL_SECONDS = 0.5
"""The time between two connections that the server ends."""
FORK_SECONDS = 0.3
OUTAGES = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
COUNT = re.compile(r"^nanospan_operation_duration_seconds_count\{(.*?)\} (\S+)$", re.MULTILINE)
OPERATION = re.compile(r'operation="(.*?)"')


class Service:
    """One run of the service; ``run`` returns what went wrong.

    Args:
        url: The database to lease connections to.
        folder: An empty folder for files.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.tally = Tally()
        self.monitor = PerformanceMonitor()
        self.leases = 0
        self.outages = 0
        self.scrapes = 0
        self.forks = 0
        self.delivered = 0
        self._url = url
        self._alerts = self.monitor.alerts
        self._log = folder / "alerts.jsonl"
        self._heard: list[str] = []
        self._exported: list[MonitorSnapshot] = []
        self._faults: list[str] = []
        self.stopping = threading.Event()

    def interrupted(self) -> None:
        """Call what a signal handler may call, amid whatever it interrupts."""
        alerts = self._alerts
        alerts.active()
        alerts.history()
        alerts.deliveries()
        self.monitor.remove_alert_callback(self._on_alert)
        self.monitor.add_alert_callback(self._on_alert)

    async def run(self, seconds: float) -> list[str]:
        """Run the service for some seconds, stop it, and compare all counts."""
        with Receiver() as receiver, start_http_server(0, source=self.monitor) as metrics:
            self._watch(receiver.url)
            connect = lambda: OTLPMetricExporter(f"{receiver.url}/v1/metrics")  # noqa: E731
            with (
                export_periodically(self._export, self.monitor, interval=0.2) as export,
                export_periodically(OtlpExporter(connect), self.monitor, interval=0.5) as otlp,
            ):
                try:
                    await self._serve(seconds, metrics.url)
                finally:
                    await asyncio.to_thread(self._alerts.close, 60)
                for each in (export, otlp):
                    if not await asyncio.to_thread(each.flush, 60):
                        self._faults.append(f"{each.name} failed: {each.last_error}")
            self._check_alerts(receiver)
            expected = self.tally.totals()
            for what, counts in {
                "monitor": _counts(self.monitor.snapshot()),
                "last export": _counts(self._exported[-1]),
                "OTLP": receiver.counts(),
                "scrape": await asyncio.to_thread(self._scrape, metrics.url),
            }.items():
                self._faults += differences(what, expected, counts)
        return self._faults

    async def _serve(self, seconds: float, url: str) -> None:
        pools = (
            VectorPool(self._url, min_size=1, max_size=CONNECTIONS, timeout=5, open=False),
            SyncVectorPool(self._url, min_size=1, max_size=CONNECTIONS, timeout=5, open=False),
        )
        async with pools[0] as pool:
            with pools[1] as sync_pool:
                work = [
                    *(self._client(pool) for _ in range(CLIENTS)),
                    *(asyncio.to_thread(self._call, sync_pool) for _ in range(THREADS)),
                    self._pulse(),
                    self._end_connections(),
                    asyncio.to_thread(self._scrape_often, url),
                    asyncio.to_thread(self._fork_often),
                ]
                tasks = [asyncio.ensure_future(each) for each in work]
                try:
                    await asyncio.sleep(seconds)
                finally:
                    self.stopping.set()
                    await asyncio.gather(*tasks)
            await self._check_pools(pools)

    async def _client(self, pool: VectorPool) -> None:
        while not self.stopping.is_set():
            request = asyncio.ensure_future(self._request(pool))
            if random.random() < 0.2:
                await asyncio.sleep(random.random() * 0.005)
                request.cancel()
            with contextlib.suppress(asyncio.CancelledError, LookupError):
                await request

    async def _request(self, pool: VectorPool) -> None:
        self.tally.add("request")
        async with self.monitor.track_operation("request", {"kind": "async"}):
            try:
                async with pool.connection() as connection:
                    self.leases += 1
                    await connection.execute("SELECT '[1,2,3]'::vector")
            except OUTAGES:
                self.outages += 1
                await asyncio.sleep(0.01)
            if random.random() < 0.1:
                raise LookupError

    def _call(self, pool: SyncVectorPool) -> None:
        while not self.stopping.is_set():
            self.tally.add("call")
            with self.monitor.track_operation("call"):
                try:
                    with pool.connection() as connection:
                        connection.execute("SELECT '[1,2,3]'::vector")
                except OUTAGES:
                    time.sleep(0.01)

    async def _pulse(self) -> None:
        began = time.monotonic()
        while not self.stopping.is_set():
            is_slow = int((time.monotonic() - began) / PULSE_SECONDS) % 2 == 0
            self.monitor.record_metric("pulse", 1.0 if is_slow else 0.001)
            self.tally.add("pulse")
            await asyncio.sleep(0.01)

    async def _end_connections(self) -> None:
        query = """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
            ORDER BY random() LIMIT 1"""
        while not self.stopping.is_set():
            async with await psycopg.AsyncConnection.connect(self._url) as connection:
                await connection.execute(query)
            await asyncio.sleep(KILL_SECONDS)

    def _scrape_often(self, url: str) -> None:
        before: dict[str, int] = {}
        while not self.stopping.wait(0.02):
            counts = self._scrape(url)
            fewer = [name for name, count in before.items() if counts.get(name, 0) < count]
            self._faults += [f"scrape: the count of {name!r} fell" for name in fewer]
            before = counts
            self.scrapes += 1

    def _scrape(self, url: str) -> dict[str, int]:
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
        counts: dict[str, int] = {}
        for attributes, count in COUNT.findall(text):
            found = OPERATION.search(attributes)
            assert found is not None, attributes
            counts[found[1]] = counts.get(found[1], 0) + int(float(count))
        return counts

    def _fork_often(self) -> None:
        while not self.stopping.wait(FORK_SECONDS):
            self._faults += fork_and_wait(self._live_in_child)
            self.forks += 1

    def _live_in_child(self) -> None:
        """Use everything that the child inherited, which has to count from zero."""
        for _ in range(10):
            with self.monitor.track_operation("request"):
                pass
        self.interrupted()
        counts = _counts(self.monitor.snapshot())
        assert counts == {"request": 10}, counts
        assert self._alerts.history() == []
        export = export_periodically(lambda snapshot, _: counts.update(_counts(snapshot)))
        assert export.flush(30)
        export.close()

    def _watch(self, url: str) -> None:
        alerts = self._alerts
        self.monitor.set_threshold("pulse", 0.5)
        self.monitor.add_alert_callback(self._on_alert)
        alerts.add_sink(FunctionSink(lambda alert: self._heard.append(alert.state)))
        alerts.add_sink(JsonLinesSink(self._log))
        alerts.add_sink(WebhookSink(f"{url}/alerts"))
        alerts.add(
            StatisticRule(
                name="slow",
                operation="pulse",
                statistic="p50",
                above=0.5,
                window=0.1,
                cooldown=0,
            )
        )

    def _check_alerts(self, receiver: Receiver) -> None:
        heard, logged, posted = self._alerts.deliveries()
        self.delivered = heard.delivered
        for delivery, received in (
            (heard, len(self._heard)),
            (logged, len(self._log.read_bytes().splitlines())),
            (posted, len(receiver.alerts)),
        ):
            if delivery.lost or delivery.queued or delivery.delivered != received:
                self._faults.append(f"alerts: {received} received of {delivery}")
        if not heard.delivered == logged.delivered == posted.delivered:
            self._faults.append(f"alerts: {heard}, {logged} and {posted} differ")

    async def _check_pools(self, pools: Sequence[VectorPool | SyncVectorPool]) -> None:
        for pool in pools:
            stats = pool.get_stats()
            if stats["requests_waiting"]:
                self._faults.append(f"{type(pool).__name__}: requests still wait: {stats}")

    def _on_alert(self, *_: object) -> None:
        """Is called for each sample above its threshold."""

    def _export(self, snapshot: MonitorSnapshot, _measured: Sequence[Measurement]) -> None:
        self._exported[:] = [snapshot]


def _counts(snapshot: MonitorSnapshot) -> dict[str, int]:
    return {name: each.all.count for name, each in snapshot.operations.items() if each.all.count}
