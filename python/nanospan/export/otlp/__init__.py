"""Export to OpenTelemetry: exponential histograms with the buckets that were recorded.

:func:`start_otlp_export` sends a monitor to a collector as the ``OTEL_*`` variables configure it;
:class:`WithNanospan` adds the monitor to the metrics that an application already exports.
"""

try:
    from nanospan.export.otlp.exporter import OtlpExporter, OtlpExportError, start_otlp_export
    from nanospan.export.otlp.pipeline import WithNanospan
except ModuleNotFoundError as missing:
    raise ImportError(
        f"{missing}; export by OTLP needs more packages: pip install 'nanospan[otlp]'"
    ) from missing

__all__ = ["OtlpExportError", "OtlpExporter", "WithNanospan", "start_otlp_export"]
