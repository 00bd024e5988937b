"""Export a monitor's data to an OpenTelemetry collector through OpenTelemetry's exporters."""

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
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanospan._core import MonitorSnapshot
    from nanospan.recorder import Recorder
    from nanospan.values.measurements import Measurement

logger = logging.getLogger("nanospan")

MAX_BUCKETS = 160
"""OpenTelemetry's default maximum number of buckets in an exponential histogram."""

PROTOCOLS = {"http/protobuf": "http", "grpc": "grpc"}
"""The last part of each OpenTelemetry exporter's package name, keyed by protocol name."""

CREDENTIAL_PROVIDERS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_METRICS_CREDENTIAL_PROVIDER",
)
"""Variables that name a provider of OpenTelemetry's HTTP session, which is then used as it is."""

Connect: TypeAlias = "Callable[[], MetricExporter]"


class OtlpExportError(Exception):
    """OpenTelemetry's exporter failed to deliver data; see the log of ``opentelemetry`` for why."""


def start_otlp_export(
    monitor: Recorder | None = None,
    *,
    connect: Connect | None = None,
    resource: Resource | None = None,
    max_buckets: int = MAX_BUCKETS,
) -> PeriodicExport:
    """Export a monitor's data to an OpenTelemetry collector until the interpreter exits.

    OpenTelemetry's environment variables configure the export: ``OTEL_EXPORTER_OTLP_ENDPOINT``,
    ``..._HEADERS``, ``..._PROTOCOL`` (``http/protobuf``, the default, or ``grpc``),
    ``..._METRICS_TEMPORALITY_PREFERENCE`` and others, ``OTEL_RESOURCE_ATTRIBUTES``,
    ``OTEL_SERVICE_NAME``, ``OTEL_METRIC_EXPORT_INTERVAL`` and ``OTEL_METRIC_EXPORT_TIMEOUT`` (in
    milliseconds; 60000 and 30000 by default). With ``OTEL_SDK_DISABLED=true`` or
    ``OTEL_METRICS_EXPORTER=none``, nothing is sent.

    Args:
        monitor: The monitor to export; the process-wide one if None.
        connect: A function that returns the OpenTelemetry exporter to send through; see
            :class:`OtlpExporter`.
        resource: The OpenTelemetry resource that produced the data; see :class:`OtlpExporter`.
        max_buckets: Maximum number of non-empty buckets in a histogram; see :class:`OtlpExporter`.

    Returns:
        A handle to the running export, with counters, ``flush()`` and ``close()``.

    Raises:
        ImportError: If the exporter package for the protocol is missing.
        ValueError: If the protocol is unknown, or ``max_buckets`` is below 2.
    """
    disabled_by = _disabling_variable()
    if disabled_by:
        logger.info("OTLP export is off because the environment sets %s", disabled_by)
    return export_periodically(
        _export_nothing
        if disabled_by
        else OtlpExporter(connect, resource=resource, max_buckets=max_buckets),
        monitor,
        interval=_milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1000,
        timeout=_milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", 30_000) / 1000,
    )


class OtlpExporter:
    """Sends snapshots to an OpenTelemetry collector; pass it to ``export_periodically``.

    With ``delta`` temporality, each export covers the time since the last successful export, so
    no data is lost when an export fails. After a fork, the child process opens a separate
    connection and has a different ``service.instance.id``.

    The exporter is not thread-safe: it must not be called by two threads at the same time.

    Args:
        connect: A function that returns the OpenTelemetry exporter to send through; called once in
            each process. By default, the ``OTEL_EXPORTER_OTLP_*`` environment variables determine
            the exporter.
        resource: The OpenTelemetry resource that produced the data; by default, created from
            ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``.
        max_buckets: Maximum number of non-empty buckets in a histogram. A histogram with more
            buckets is converted to the finest scale at which it fits.

    Raises:
        ImportError: If the exporter package for the protocol is missing.
        ValueError: If the protocol is unknown, or ``max_buckets`` is below 2.
    """

    def __init__(
        self,
        connect: Connect | None = None,
        *,
        resource: Resource | None = None,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        if max_buckets < 2:  # noqa: PLR2004 - at the coarsest scale, a histogram has two
            raise ValueError(f"max_buckets must be at least 2, got {shown(max_buckets)}")
        self._connect = connect or exporter_from_environment
        self._given_resource = resource
        self._max_buckets = max_buckets
        self._open()

    def _open(self) -> None:
        self._exporter = self._connect()
        self._resource = self._given_resource or _resource_from_environment()
        self._builder = MetricsBuilder(temporality_of(self._exporter), self._max_buckets)
        self._process = os.getpid()  # last: if connect() fails in a child, it is retried

    def __call__(self, snapshot: MonitorSnapshot, measurements: Sequence[Measurement]) -> None:
        """Send a snapshot and measurements to the collector.

        Raises:
            OtlpExportError: If the OpenTelemetry exporter failed to deliver the data.
        """
        if self._process != os.getpid():
            # A child must not share its parent's connection, or its record of the data delivered.
            self._open()
        scope = self._builder.build(snapshot, measurements)
        if not scope.metrics:
            return
        resource = ResourceMetrics(self._resource, [scope], self._resource.schema_url)
        # Keep instrumented HTTP clients from tracing the export request.
        token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003, SLF001
        try:
            result = self._exporter.export(MetricsData([resource]))
        finally:
            context.detach(token)
        if result is not MetricExportResult.SUCCESS:
            raise OtlpExportError("the data was not delivered; see the 'opentelemetry' logger")
        self._builder.mark_arrived()

    def close(self) -> None:
        """Shut down the OpenTelemetry exporter."""
        if self._process == os.getpid():
            self._exporter.shutdown()


def exporter_from_environment() -> MetricExporter:
    """Create the OpenTelemetry exporter for the protocol set in the environment.

    Raises:
        ImportError: If the exporter package for the protocol is missing.
        ValueError: If the protocol is unknown.
    """
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol not in PROTOCOLS:
        known = " or ".join(PROTOCOLS)
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL must be {known}, got {shown(protocol)}")
    name = PROTOCOLS[protocol]
    try:
        module = importlib.import_module(
            f"opentelemetry.exporter.otlp.proto.{name}.metric_exporter"
        )
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"the protocol {protocol} needs {missing.name}: "
            f"pip install opentelemetry-exporter-otlp-proto-{name}"
        ) from missing
    if protocol == "grpc" or any(os.environ.get(name) for name in CREDENTIAL_PROVIDERS):
        return cast("MetricExporter", module.OTLPMetricExporter())
    from nanospan.export.otlp.timed_session import TimedSession  # noqa: PLC0415 - needs requests

    return cast("MetricExporter", module.OTLPMetricExporter(session=TimedSession()))


def temporality_of(exporter: MetricExporter) -> dict[type, AggregationTemporality]:
    """Return the temporality that an exporter prefers for each instrument class."""
    # The attribute's name is private, but OpenTelemetry's own readers use it too.
    return exporter._preferred_temporality or {}  # noqa: SLF001


def _disabling_variable() -> str | None:
    """Return the environment setting that disables exports, as ``NAME=value``, or None."""
    for variable, value in [("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")]:
        if os.environ.get(variable, "").strip().lower() == value:
            return f"{variable}={value}"
    return None


def _export_nothing(_snapshot: MonitorSnapshot, _measurements: Sequence[Measurement]) -> None:
    """Do nothing; used in place of an exporter when the environment disables exports."""


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
    # OpenTelemetry's specification requires a warning and the default for an invalid value.
    logger.warning(
        "%s must be a positive number of milliseconds, got %s; using the default, %g",
        variable,
        shown(given),
        default,
    )
    return default
