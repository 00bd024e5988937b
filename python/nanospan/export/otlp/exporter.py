"""Send a monitor to an OpenTelemetry collector through the official exporters."""

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
"""OpenTelemetry's default limit on the buckets of an exponential histogram."""

PROTOCOLS = {"http/protobuf": "http", "grpc": "grpc"}
"""The package names of the official exporters, by the names of protocols in the environment."""

Connect: TypeAlias = "Callable[[], MetricExporter]"


class OtlpExportError(Exception):
    """An official exporter could not deliver data; the logger ``opentelemetry`` has the cause."""


def start_otlp_export(
    monitor: Recorder | None = None,
    *,
    connect: Connect | None = None,
    resource: Resource | None = None,
    max_buckets: int = MAX_BUCKETS,
) -> PeriodicExport:
    """Send a monitor to an OpenTelemetry collector periodically, until the interpreter exits.

    OpenTelemetry's environment variables configure the export: ``OTEL_EXPORTER_OTLP_ENDPOINT``,
    ``..._HEADERS``, ``..._PROTOCOL`` (``http/protobuf``, the default, or ``grpc``),
    ``..._METRICS_TEMPORALITY_PREFERENCE`` and others, ``OTEL_RESOURCE_ATTRIBUTES``,
    ``OTEL_SERVICE_NAME``, ``OTEL_METRIC_EXPORT_INTERVAL`` and ``OTEL_METRIC_EXPORT_TIMEOUT`` (in
    milliseconds; 60000 and 30000 by default). With ``OTEL_SDK_DISABLED=true`` or
    ``OTEL_METRICS_EXPORTER=none`` nothing is sent.

    Args:
        monitor: The monitor to send; the process-wide one if None.
        connect: As for :class:`OtlpExporter`, like the arguments that follow.
        resource: The resource that the data describes.
        max_buckets: The most buckets of a histogram.

    Returns:
        The running export, with its counts, ``flush()`` and ``close()``.

    Raises:
        ImportError: If the package for the protocol is missing.
        ValueError: If the protocol is unknown, or ``max_buckets`` is below 2.
    """
    disabled_by = _disabling_variable()
    if disabled_by:
        logger.info("export by OTLP is off, because the environment has %s", disabled_by)
    return export_periodically(
        _export_nothing
        if disabled_by
        else OtlpExporter(connect, resource=resource, max_buckets=max_buckets),
        monitor,
        interval=_milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1000,
        timeout=_milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", 30_000) / 1000,
    )


class OtlpExporter:
    """Sends snapshots by OTLP, as an exporter for ``export_periodically``.

    Differences (``delta``) start from the last export that arrived: after a failure the next export
    also covers the failed one. After a fork the child has its own connection and
    ``service.instance.id``.

    Two threads must not call it at the same time.

    Args:
        connect: Returns the official exporter to send through; called once in each process. By
            default the ``OTEL_EXPORTER_OTLP_*`` variables configure it.
        resource: The resource that the data describes; by default made from
            ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``.
        max_buckets: The most buckets of a histogram, not counting empty ones. A histogram with
            more is brought to the first coarser scale that fits.

    Raises:
        ImportError: If the package for the protocol is missing.
        ValueError: If the protocol is unknown, or ``max_buckets`` is below 2.
    """

    def __init__(
        self,
        connect: Connect | None = None,
        *,
        resource: Resource | None = None,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        if max_buckets < 2:  # noqa: PLR2004 - the coarsest scale has two
            raise ValueError(f"max_buckets must be at least 2, got {max_buckets}")
        self._connect = connect or exporter_from_environment
        self._given_resource = resource
        self._max_buckets = max_buckets
        self._open()

    def _open(self) -> None:
        self._exporter = self._connect()
        self._resource = self._given_resource or _resource_from_environment()
        self._builder = MetricsBuilder(temporality_of(self._exporter), self._max_buckets)
        self._process = os.getpid()  # set last, so that a child whose connect() failed tries again

    def __call__(self, snapshot: MonitorSnapshot, measurements: Sequence[Measurement]) -> None:
        """Send a snapshot and measurements.

        Raises:
            OtlpExportError: If the official exporter could not deliver them.
        """
        if self._process != os.getpid():
            # Two processes must not share a connection, nor the record of what has arrived.
            self._open()
        scope = self._builder.build(snapshot, measurements)
        if not scope.metrics:
            return
        resource = ResourceMetrics(self._resource, [scope], self._resource.schema_url)
        # Keeps instrumented HTTP clients from tracing the export itself.
        token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003, SLF001
        try:
            result = self._exporter.export(MetricsData([resource]))
        finally:
            context.detach(token)
        if result is not MetricExportResult.SUCCESS:
            raise OtlpExportError("the data was not delivered; see the logger 'opentelemetry'")
        self._builder.mark_arrived()

    def close(self) -> None:
        """Shut the official exporter down."""
        if self._process == os.getpid():
            self._exporter.shutdown()


def exporter_from_environment() -> MetricExporter:
    """Return the official exporter for the protocol that the environment names.

    Raises:
        ImportError: If the exporter's package is missing.
        ValueError: If the protocol is unknown.
    """
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol not in PROTOCOLS:
        known = " or ".join(PROTOCOLS)
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL must be {known}, got {protocol!r}")
    name = PROTOCOLS[protocol]
    try:
        module = importlib.import_module(
            f"opentelemetry.exporter.otlp.proto.{name}.metric_exporter"
        )
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"{missing}; the protocol {protocol} needs one more package: "
            f"pip install opentelemetry-exporter-otlp-proto-{name}"
        ) from missing
    return cast("MetricExporter", module.OTLPMetricExporter())


def temporality_of(exporter: MetricExporter) -> dict[type, AggregationTemporality]:
    """Return the temporality that an exporter prefers for each class of instrument."""
    # The attribute is private by name, but OpenTelemetry's readers use it as well.
    return exporter._preferred_temporality or {}  # noqa: SLF001


def _disabling_variable() -> str | None:
    """Return the environment's setting that disables exports, or None."""
    for variable, value in [("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")]:
        if os.environ.get(variable, "").strip().lower() == value:
            return f"{variable}={value}"
    return None


def _export_nothing(_snapshot: MonitorSnapshot, _measurements: Sequence[Measurement]) -> None:
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
    # OpenTelemetry's specification wants a warning and the default for an invalid value.
    logger.warning(
        "%s must be a positive number of milliseconds, got %r; using %g", variable, given, default
    )
    return default
