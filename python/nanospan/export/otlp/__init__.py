"""Export to OpenTelemetry: exponential histograms with the buckets that were recorded.

:func:`start_otlp_export` sends everything to a collector, as the ``OTEL_*`` variables say;
:class:`WithNanospan` adds it to what an application exports already.
"""

try:
    from nanospan.export.otlp.exporter import OtlpExporter, OtlpExportError, start_otlp_export
    from nanospan.export.otlp.pipeline import WithNanospan
except ModuleNotFoundError as missing:
    raise ImportError(
        f"{missing}: exporting by OTLP needs more packages: pip install 'nanospan[otlp]'"
    ) from missing

__all__ = ["OtlpExportError", "OtlpExporter", "WithNanospan", "start_otlp_export"]
