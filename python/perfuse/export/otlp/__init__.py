"""Export to OpenTelemetry: exponential histograms with the buckets that were recorded.

:func:`start_otlp_export` sends everything to a collector, as the ``OTEL_*`` variables say;
:class:`WithPerfuse` adds it to what an application exports already.
"""

try:
    from perfuse.export.otlp.exporter import OtlpExporter, OtlpExportError, start_otlp_export
    from perfuse.export.otlp.pipeline import WithPerfuse
except ModuleNotFoundError as missing:
    raise ImportError(
        f"{missing}: exporting by OTLP needs more packages: pip install 'perfuse[otlp]'"
    ) from missing

__all__ = ["OtlpExportError", "OtlpExporter", "WithPerfuse", "start_otlp_export"]
