"""Sending to an OpenTelemetry collector through the official exporters."""

from __future__ import annotations

import importlib
import logging
import os
import uuid
from math import isfinite
from typing import TYPE_CHECKING, TypeAlias, cast

from opentelemetry import context
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ResourceMetrics,
)
from opentelemetry.sdk.resources import Resource

from nanospan.export.otlp.metrics import MetricsBuilder
from nanospan.export.periodic import PeriodicExport, export_periodically

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanospan._core import MonitorSnapshot
    from nanospan.recorder import Recorder
    from nanospan.values.measurements import Measurement

logger = logging.getLogger("nanospan")

MAX_BUCKETS = 160
"""OpenTelemetry's own bound on the buckets of an exponential histogram."""

PROTOCOLS = {"http/protobuf": "http", "grpc": "grpc"}
"""What the protocols' official exporters are called, by the protocols' names in the environment."""

Connect: TypeAlias = "Callable[[], MetricExporter]"


class OtlpExportError(Exception):
    """An official exporter has given data up. Its own log, ``opentelemetry``, says why."""


def start_otlp_export(
    monitor: Recorder | None = None,
    *,
    connect: Connect | None = None,
    resource: Resource | None = None,
    max_buckets: int = MAX_BUCKETS,
) -> PeriodicExport:
    """Send a monitor to an OpenTelemetry collector from now on, until the interpreter exits.

    Where, how and how often is what OpenTelemetry's variables say: ``OTEL_EXPORTER_OTLP_ENDPOINT``,
    ``..._HEADERS``, ``..._PROTOCOL`` (``http/protobuf``, the default, or ``grpc``),
    ``..._METRICS_TEMPORALITY_PREFERENCE`` and others, ``OTEL_RESOURCE_ATTRIBUTES``,
    ``OTEL_SERVICE_NAME``, ``OTEL_METRIC_EXPORT_INTERVAL`` and ``OTEL_METRIC_EXPORT_TIMEOUT`` (in
    milliseconds; 60000 and 30000 by default). With ``OTEL_SDK_DISABLED=true`` or
    ``OTEL_METRICS_EXPORTER=none`` nothing is sent.

    Args:
        monitor: What to send; the process's monitor if None.
        connect: As for :class:`OtlpExporter`, as are the others.
        resource: What the data is of.
        max_buckets: How many buckets a histogram keeps.

    Returns:
        The running export, with its counts, ``flush()`` and ``close()``.

    Raises:
        ImportError: If the package for the protocol is missing.
        ValueError: If there is no such protocol, or ``max_buckets`` is below 2.
    """
    off = _switched_off()
    if off:
        logger.info("nothing is sent by OTLP, as the environment has %s", off)
    return export_periodically(
        _nothing if off else OtlpExporter(connect, resource=resource, max_buckets=max_buckets),
        monitor,
        interval=_milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1000,
        timeout=_milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", 30_000) / 1000,
    )


class OtlpExporter:
    """Sends snapshots by OTLP; for :func:`~nanospan.export.periodic.export_periodically`.

    Differences (``delta``) begin with what arrived last: after a failure the next export holds what
    the failed one did. After a fork the child has its own connection and ``service.instance.id``.

    Not to be called by two threads at a time.

    Args:
        connect: Makes the official exporter to send through, called once in each process; by
            default it is made as the ``OTEL_EXPORTER_OTLP_*`` variables say.
        resource: What the data is of; by default what ``OTEL_RESOURCE_ATTRIBUTES`` and
            ``OTEL_SERVICE_NAME`` say.
        max_buckets: How many buckets a histogram keeps, empty ones not counted. One with more is
            brought to the first coarser scale that fits.

    Raises:
        ImportError: If the package for the protocol is missing.
        ValueError: If there is no such protocol, or ``max_buckets`` is below 2.
    """

    def __init__(
        self,
        connect: Connect | None = None,
        *,
        resource: Resource | None = None,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        if max_buckets < 2:  # noqa: PLR2004 - the coarsest scale has two
            raise ValueError(f"max_buckets is at least 2, got {max_buckets}")
        self._connect = connect or exporter_from_environment
        self._given_resource = resource
        self._max_buckets = max_buckets
        self._open()

    def _open(self) -> None:
        self._exporter = self._connect()
        self._resource = self._given_resource or _resource_from_environment()
        self._builder = MetricsBuilder(temporality_of(self._exporter), self._max_buckets)
        self._process = os.getpid()  # last: what failed is tried again

    def __call__(self, snapshot: MonitorSnapshot, measurements: Sequence[Measurement]) -> None:
        """Send a snapshot and measurements.

        Raises:
            OtlpExportError: If they could not be delivered.
        """
        if self._process != os.getpid():
            # Two processes must share neither a connection nor the state of what has arrived.
            self._open()
        scope = self._builder.build(snapshot, measurements)
        if not scope.metrics:
            return
        resource = ResourceMetrics(self._resource, [scope], self._resource.schema_url)
        # Instrumentation of HTTP clients leaves requests with this mark alone.
        mark = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003, SLF001
        try:
            result = self._exporter.export(MetricsData([resource]))
        finally:
            context.detach(mark)
        if result is not MetricExportResult.SUCCESS:
            raise OtlpExportError("the data was not delivered; the logger 'opentelemetry' says why")
        self._builder.arrived()

    def close(self) -> None:
        """End the connection."""
        if self._process == os.getpid():
            self._exporter.shutdown()


def exporter_from_environment() -> MetricExporter:
    """Return the official exporter for the protocol that the environment names.

    Raises:
        ImportError: If its package is missing.
        ValueError: If there is no such protocol.
    """
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol not in PROTOCOLS:
        known = " or ".join(PROTOCOLS)
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {known}, got {protocol!r}")
    name = PROTOCOLS[protocol]
    try:
        module = importlib.import_module(
            f"opentelemetry.exporter.otlp.proto.{name}.metric_exporter"
        )
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"{missing}: the protocol {protocol} needs one more package: "
            f"pip install opentelemetry-exporter-otlp-proto-{name}"
        ) from missing
    return cast("MetricExporter", module.OTLPMetricExporter())


def temporality_of(exporter: MetricExporter) -> dict[type, AggregationTemporality]:
    """Return what an exporter wants, by class of instrument."""
    # Private by its name, it is where OpenTelemetry's readers look.
    return exporter._preferred_temporality or {}  # noqa: SLF001


def _switched_off() -> str | None:
    """What in the environment forbids exports, or None."""
    for variable, value in [("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")]:
        if os.environ.get(variable, "").strip().lower() == value:
            return f"{variable}={value}"
    return None


def _nothing(_snapshot: MonitorSnapshot, _measurements: Sequence[Measurement]) -> None:
    """Export nothing."""


def _resource_from_environment() -> Resource:
    resource = Resource.create()
    if "service.instance.id" not in resource.attributes:
        resource = resource.merge(Resource({"service.instance.id": str(uuid.uuid4())}))
    return resource


def _milliseconds(variable: str, default: float) -> float:
    given = os.environ.get(variable)
    if not given:
        return default
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = 0
    if milliseconds > 0 and isfinite(milliseconds):
        return milliseconds
    # OpenTelemetry: a value that is not understood is reported, and the default taken.
    logger.warning("%s is a number of milliseconds, got %r; it is %g now", variable, given, default)
    return default
