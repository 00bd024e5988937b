"""Add a monitor's data to the metrics that an application already exports."""

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
    """An OpenTelemetry exporter that adds a monitor's metrics to each export of another exporter.

    In an application with a ``MeterProvider``, it sends the monitor's metrics together with the
    application's, with the same resource::

        reader = PeriodicExportingMetricReader(WithNanospan(OTLPMetricExporter()))
        provider = MeterProvider(metric_readers=[reader])

    The reader exports nothing until the application has used one of its instruments.

    Args:
        exporter: The exporter to wrap, which sends the metrics.
        monitor: The monitor whose metrics to add; the process-wide one if None.
        max_buckets: Maximum number of non-empty buckets in a histogram; see
            :class:`~nanospan.export.otlp.OtlpExporter`.
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
        """Export the application's and the monitor's metrics together.

        If the monitor's metrics cannot be built, the failure is logged and only the application's
        metrics are sent. This method must be called by one thread at a time.
        """
        is_added = True
        try:
            metrics_data = self._added_to(metrics_data)
        except Exception:
            logger.exception("cannot build the monitor's metrics; this export omits them")
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
        """Flush the wrapped exporter."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut down the wrapped exporter."""
        self._exporter.shutdown(timeout_millis=timeout_millis, **kwargs)
