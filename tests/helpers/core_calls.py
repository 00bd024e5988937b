"""Every public call of the monitor, its alerts and its exports; run as a program by a test.

Argument: the file that names the current call.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
from pathlib import Path
from typing import Any

import public_calls
import reentry
from alerting import make_alert

import nanospan
from nanospan.alerts import FunctionSink, StatisticRule
from nanospan.export.periodic import PeriodicExport, export_periodically
from nanospan.export.prometheus import Exposition, NanospanCollector, start_http_server
from nanospan.integrations.asgi import NanospanMiddleware

SINK = FunctionSink(lambda _: None)
RULE = StatisticRule(name="r", operation="op", statistic="max", above=0.001)
FOLDER = Path(sys.argv[1]).parent
RULES = FOLDER / "alerts.toml"
RULES.write_text(
    "[[sink]]\ntype = 'log'\n[[rule]]\nname = 'f'\noperation = 'op'\nstatistic = 'max'\nabove = 1\n"
)
NAMES = itertools.count()
BRIEF = 0.05
ALERT = make_alert()


class World:
    """The objects whose methods are called."""

    monitor: nanospan.PerformanceMonitor
    export: PeriodicExport | None = None

    @classmethod
    def renew(cls) -> None:
        monitor = nanospan.PerformanceMonitor()
        monitor.record_metric("op", 0.1, metadata={"k": 1})
        monitor.add_alert_callback(callback)
        monitor.add_source(source)
        alerts = monitor.alerts
        alerts.add_sink(SINK)
        alerts.add(RULE)
        cls.silence = alerts.silence(seconds=1)
        cls.snapshot = monitor.snapshot()
        cls.baseline = monitor.baseline()
        cls.stats = monitor.get_all_stats()
        cls.middleware = NanospanMiddleware(application, monitor)
        if not hasattr(cls, "server") or repr(cls.server).endswith("closed>"):
            cls.server = start_http_server(0, source=monitor)
        cls.export, last = export_periodically(export, monitor, interval=3600), cls.export
        if last is not None:
            last.close(1.0)
        cls.monitor, before = monitor, getattr(cls, "monitor", None)
        if before is not None:
            before.alerts.close(0.1)


def callback(_kind: str, _metric: object) -> None:
    """Receives violations."""


def source() -> list[nanospan.Measurement]:
    return []


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def request(middleware: NanospanMiddleware) -> None:
    """Send a request through the middleware."""

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(_message: Any) -> None:
        pass

    await middleware({"type": "http", "method": "GET", "path": "/"}, receive, send)


def run(coroutine: Any) -> None:
    """Run a coroutine that awaits nothing."""
    with contextlib.suppress(StopIteration):
        coroutine.send(None)
        raise AssertionError("this coroutine must not wait")


def tracked(monitor: nanospan.PerformanceMonitor) -> None:
    with monitor.track_operation("op", {"k": 1}) as span:
        span.set(a=1)


def export(_snapshot: object, _measurements: object) -> None:
    """Export nothing."""


def exported() -> None:
    export_periodically(export, World.monitor, interval=3600).close(BRIEF)


def served() -> None:
    start_http_server(0, source=World.monitor).close()


def decorated() -> None:
    nanospan.track_performance("op")(source)()


def span() -> nanospan.Span:
    return World.monitor.track_operation("op")


def entered(span: nanospan.Span) -> None:
    with span:
        pass


API = public_calls.Api(
    modules=(
        "nanospan",
        "nanospan.alerts",
        "nanospan.integrations.asgi",
        "nanospan.compat.memfuse.performance_monitor",
        "nanospan.export.periodic",
        "nanospan.export.prometheus",
    ),
    subjects={
        "PerformanceMonitor": lambda: World.monitor,
        "Operation": lambda: World.monitor.operation("op"),
        "Span": span,
        "Snapshot": lambda: World.snapshot.operations["op"].all,
        "OperationSnapshot": lambda: World.snapshot.operations["op"],
        "MonitorSnapshot": lambda: World.snapshot,
        "Alerts": lambda: World.monitor.alerts,
        "FunctionSink": lambda: SINK,
        "NanospanMiddleware": lambda: World.middleware,
        "PeriodicExport": lambda: World.export,
        "MetricsServer": lambda: World.server,
        "Exposition": lambda: Exposition(World.monitor),
        "NanospanCollector": lambda: NanospanCollector(World.monitor),
    },
    arguments={
        "track_performance": decorated,
        "PerformanceMonitor.add_alert_callback": lambda it: it.add_alert_callback(callback),
        "PerformanceMonitor.remove_alert_callback": lambda it: it.remove_alert_callback(callback),
        "PerformanceMonitor.add_source": lambda it: it.add_source(source),
        "PerformanceMonitor.remove_source": lambda it: it.remove_source(source),
        "PerformanceMonitor.compare": lambda it: it.compare(World.baseline),
        "PerformanceMonitor.detect_regressions": lambda it: it.detect_regressions(World.stats),
        "PerformanceMonitor.durations": lambda it: it.durations("op"),
        "PerformanceMonitor.get_stats": lambda it: it.get_stats("op"),
        "PerformanceMonitor.operation": lambda it: it.operation(f"op{next(NAMES)}"),
        "PerformanceMonitor.record_metric": lambda it: it.record_metric("op", 0.1),
        "PerformanceMonitor.report": lambda it: it.report(FOLDER / "report.html"),
        "PerformanceMonitor.set_threshold": lambda it: it.set_threshold("op", 0.01),
        "PerformanceMonitor.track_operation": tracked,
        "Operation.record": lambda it: it.record(0.1, metadata={"k": 1}),
        "Operation.record_cancelled": lambda it: it.record_cancelled(0.1),
        "Operation.wrap": lambda it: it.wrap(source)(),
        "Span.__call__": lambda it: it(source)(),
        "Span.__enter__": entered,
        "Snapshot.at_scale": lambda it: it.at_scale(0),
        "Snapshot.count_below": lambda it: it.count_below(0.1),
        "Snapshot.from_bytes": lambda it: it.from_bytes(it.to_bytes()),
        "Snapshot.merge": lambda it: it.merge(it),
        "Snapshot.quantile": lambda it: it.quantile(0.5),
        "Snapshot.since": lambda it: it.since(it),
        "Snapshot.with_at_most": lambda it: it.with_at_most(5),
        "MonitorSnapshot.from_bytes": lambda it: it.from_bytes(it.to_bytes()),
        "MonitorSnapshot.since": lambda it: it.since(it),
        "Alerts.add": lambda it: it.add(RULE, replace=True),
        "Alerts.add_sink": lambda it: it.add_sink(SINK),
        "Alerts.close": lambda it: it.close(0.01),
        "Alerts.flush": lambda it: it.flush(0.01),
        "Alerts.load": lambda it: it.load(RULES),
        "Alerts.remove": lambda it: it.remove("r"),
        "Alerts.remove_sink": lambda it: it.remove_sink(SINK),
        "Alerts.silence": lambda it: it.silence(seconds=0.5),
        "Alerts.unsilence": lambda it: it.unsilence(World.silence),
        "FunctionSink.wants": lambda it: it.wants(ALERT),
        "NanospanMiddleware.operation": lambda it: it.operation({"method": "GET"}, None),
        "PeriodicExport.close": lambda it: it.close(BRIEF),
        "PeriodicExport.flush": lambda it: it.flush(BRIEF),
        "NanospanCollector.collect": lambda it: list(it.collect()),
        "export_periodically": exported,
        "start_http_server": served,
        "load": lambda: nanospan.alerts.load(RULES),
        "NanospanMiddleware.__call__": request,
    },
    excluded={
        "PerformanceMonitor.plot": "draws with matplotlib, which is not re-entrant, on a copy",
        "Sink": "an abstract class, called by the sinks' threads only",
        "AlertmanagerSink": "called by its thread only",
        "JsonLinesSink": "called by its thread only",
        "LogSink": "called by its thread only",
        "WebhookSink": "called by its thread only",
        "FunctionSink.deliver": "called by the sink's thread only",
        "FunctionSink.explain": "called by the sink's thread only",
        "FunctionSink.refresh": "called by the sink's thread only",
        **{
            f"PeriodicExport.{name}": "called by the schedule's thread or at exit"
            for name in ("begin_exit", "finish", "reset_in_child", "step", "take")
        },
    },
    run=run,
)


def is_expected(error: BaseException) -> bool:
    """Return whether an interruption may cause the error, such as by removing the sink first."""
    if isinstance(error, RuntimeError):
        return "is closed" in str(error) or "has been entered" in str(error)
    return isinstance(error, (KeyError, ValueError))


if __name__ == "__main__":
    logging.disable()
    World.renew()
    found = public_calls.public_calls(API)
    if found.complaints:
        sys.exit("\n".join(sorted(found.complaints)))
    slow = {
        *("Alerts.load", "MetricsServer.close", "PerformanceMonitor.report"),
        *("PeriodicExport.close", "PeriodicExport.flush", "export_periodically"),
        *("load", "start_http_server"),
    }
    reentry.main(reentry.Reentry(found.calls, World.renew, is_expected, sys.argv[1], slow=slow))
