"""Typical uses of exports and integrations, which mypy checks but which are never run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi import FastAPI
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from starlette.applications import Starlette
from starlette.middleware import Middleware

from nanospan import MonitorSnapshot, PerformanceMonitor
from nanospan.export.otlp import OtlpExporter, WithNanospan, start_otlp_export
from nanospan.export.periodic import PeriodicExport, export_periodically
from nanospan.integrations.asgi import NanospanMiddleware
from nanospan.values.measurements import Measurement

monitor = PerformanceMonitor()


def export(snapshot: MonitorSnapshot, measurements: Sequence[Measurement]) -> None:
    print(snapshot.time, len(measurements))


def to_collector() -> OTLPMetricExporter:
    return OTLPMetricExporter("http://collector:4318/v1/metrics")


with export_periodically(export, monitor, interval=10.0) as periodic:
    flushed: bool = periodic.flush()
    reason: str | None = periodic.last_error

sending: PeriodicExport = start_otlp_export()
own = OtlpExporter(to_collector, resource=Resource({"service.name": "memory"}), max_buckets=320)
closed: bool = export_periodically(own).close(timeout=1.0)
provider = MeterProvider([PeriodicExportingMetricReader(WithNanospan(OTLPMetricExporter()))])

starlette = Starlette(middleware=[Middleware(NanospanMiddleware, monitor, exclude=["/metrics"])])
fastapi = FastAPI()
fastapi.add_middleware(NanospanMiddleware, error_status=400)


async def plain(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    await send({"type": "http.response.start", "status": 204})


wrapped = NanospanMiddleware(plain, route=lambda scope: scope.get("template"))
