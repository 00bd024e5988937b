"""Add a monitor to the metrics that an application already exports."""

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
    """Wraps an exporter and adds a monitor's metrics to each of its exports.

    For applications with a ``MeterProvider``: the monitor's metrics are sent through the same
    exporter, at the same times and with the same resource::

        reader = PeriodicExportingMetricReader(WithNanospan(OTLPMetricExporter()))
        provider = MeterProvider(metric_readers=[reader])

    A reader exports nothing until an instrument of the application has been used.

    Args:
        exporter: The exporter to send through.
        monitor: The monitor to add; the process-wide one if None.
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
            preferred_aggregation=exporter._preferred_aggregation,  # noqa: SLF001 - see temporality_of
        )
        self._exporter = exporter
        self._monitor = process_recorder() if monitor is None else monitor
        self._builder = MetricsBuilder(temporality_of(exporter), max_buckets)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Send the application's and the monitor's metrics; called by one thread at a time."""
        is_added = True
        try:
            metrics_data = self._added_to(metrics_data)
        except Exception:
            logger.exception("the monitor's metrics are missing from an export")
            is_added = False
        result = self._exporter.export(metrics_data, timeout_millis=timeout_millis, **kwargs)
        if is_added and result is MetricExportResult.SUCCESS:
            self._builder.mark_arrived()
        return result

    def _added_to(self, metrics_data: MetricsData) -> MetricsData:
        measurements = self._monitor.measurements()
        ours = self._builder.build(self._monitor.snapshot(), measurements)
        first, *others = metrics_data.resource_metrics
        first = dataclasses.replace(first, scope_metrics=[*first.scope_metrics, ours])
        return MetricsData([first, *others])

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Make the wrapped exporter send the data that it still holds."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the wrapped exporter down."""
        self._exporter.shutdown(timeout_millis=timeout_millis, **kwargs)
