"""Sending along with what an application exports already."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from nanospan.export.otlp.exporter import MAX_BUCKETS, temporality_of
from nanospan.export.otlp.metrics import MetricsBuilder
from nanospan.recorder import process_recorder

if TYPE_CHECKING:
    from nanospan.recorder import Recorder


logger = logging.getLogger("nanospan")


class WithNanospan(MetricExporter):
    """Another exporter, whose every export a monitor's metrics are added to.

    For applications with a ``MeterProvider``: what nanospan recorded goes the same way, at the same
    times, with the same resource::

        reader = PeriodicExportingMetricReader(WithNanospan(OTLPMetricExporter()))
        provider = MeterProvider(metric_readers=[reader])

    A reader exports nothing as long as no instrument of the application has been used.

    Args:
        exporter: The exporter to send through.
        monitor: What to add; the process's monitor if None.
        max_buckets: As for :class:`~nanospan.export.otlp.OtlpExporter`.
    """

    def __init__(
        self,
        exporter: MetricExporter,
        monitor: Recorder | None = None,
        *,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        super().__init__(
            preferred_temporality=temporality_of(exporter),
            preferred_aggregation=exporter._preferred_aggregation,  # noqa: SLF001 - as the temporality
        )
        self._exporter = exporter
        self._monitor = process_recorder() if monitor is None else monitor
        self._builder = MetricsBuilder(temporality_of(exporter), max_buckets)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Send what was collected, and the monitor's metrics; a reader's calls never overlap."""
        is_added = True
        try:
            metrics_data = self._added_to(metrics_data)
        except Exception:
            logger.exception("the monitor's metrics are missing from an export")
            is_added = False
        result = self._exporter.export(metrics_data, timeout_millis=timeout_millis, **kwargs)
        if is_added and result is MetricExportResult.SUCCESS:
            self._builder.arrived()
        return result

    def _added_to(self, metrics_data: MetricsData) -> MetricsData:
        measurements = self._monitor.measurements()
        ours = self._builder.build(self._monitor.snapshot(), measurements)
        first, *others = metrics_data.resource_metrics
        first = dataclasses.replace(first, scope_metrics=[*first.scope_metrics, ours])
        return MetricsData([first, *others])

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Have the exporter send what it still holds."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown(timeout_millis=timeout_millis, **kwargs)
