"""Export a monitor's data to OpenTelemetry, as exponential histograms.

The exported histograms have the same buckets as the recorded ones.

:func:`start_otlp_export` exports a monitor's data to a collector, configured by the ``OTEL_*``
environment variables. :class:`WithNanospan` adds a monitor's data to the metrics that an
application already exports.
"""

from nanospan.values.extras import needs

try:
    from nanospan.export.otlp.exporter import OtlpExporter, OtlpExportError, start_otlp_export
    from nanospan.export.otlp.pipeline import WithNanospan
except ModuleNotFoundError as missing:
    raise ImportError(f"OTLP export {needs(str(missing.name), 'otlp')}") from missing

__all__ = ["OtlpExportError", "OtlpExporter", "WithNanospan", "start_otlp_export"]
