"""Tests for exporting through OpenTelemetry's exporters: configuration, failures and forks."""

import json
import logging
import os
import subprocess
import sys

import pytest
from opentelemetry import context
from opentelemetry.sdk.metrics import (
    Histogram,
    MeterProvider,
    ObservableCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from servers import free_port

from nanospan.export.otlp import OtlpExporter, OtlpExportError, WithNanospan, start_otlp_export

DELTAS = {
    Histogram: AggregationTemporality.DELTA,
    ObservableCounter: AggregationTemporality.DELTA,
}


class Sink(MetricExporter):
    """An OpenTelemetry exporter that stores the data passed to it."""

    def __init__(self, temporality=None):
        super().__init__(preferred_temporality=temporality)
        self.given = []
        self.marks = []
        self.result = MetricExportResult.SUCCESS
        self.is_shut_down = False

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        self.given.append(metrics_data)
        self.marks.append(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))
        return self.result

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        self.is_shut_down = True

    def counts(self, i=-1):
        """Return the sample counts of export ``i``, keyed by operation and outcome."""
        return {
            tuple(point.attributes.values()): point.count
            for resource in self.given[i].resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "nanospan.operation.duration"
            for point in metric.data.data_points
            if point.count
        }


@pytest.fixture
def sink():
    return Sink()


def test_exports_carry_resource_and_scope_and_are_not_instrumented(monitor, sink, monkeypatch):
    """Exports carry the environment's resource; instrumented HTTP clients do not trace exports."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "memory")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=red")
    monitor.record_metric("op", 0.1)
    OtlpExporter(lambda: sink)(monitor.snapshot(), [])
    [resource] = sink.given[0].resource_metrics
    attributes = resource.resource.attributes
    assert (attributes["service.name"], attributes["team"]) == ("memory", "red")
    assert attributes["service.instance.id"]
    assert resource.scope_metrics[0].scope.name == "nanospan"
    assert sink.marks == [True]
    assert context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY) is None


def test_a_given_resource_is_used_unchanged(monitor, sink):
    """An explicit resource is not merged with the environment's."""
    monitor.record_metric("op", 0.1)
    given = Resource({"service.name": "given"})
    OtlpExporter(lambda: sink, resource=given)(monitor.snapshot(), [])
    assert sink.given[0].resource_metrics[0].resource is given


def test_an_empty_monitor_sends_nothing(monitor, sink):
    """Exporting an empty monitor sends no request."""
    OtlpExporter(lambda: sink)(monitor.snapshot(), [])
    assert sink.given == []


def test_a_failed_export_is_an_error_and_loses_nothing(monitor):
    """Data that the official exporter failed to send is included in the next delta export."""
    sink = Sink(DELTAS)
    exporter = OtlpExporter(lambda: sink)
    monitor.record_metric("op", 0.1)
    sink.result = MetricExportResult.FAILURE
    with pytest.raises(OtlpExportError, match="opentelemetry"):
        exporter(monitor.snapshot(), [])
    monitor.record_metric("op", 0.1)
    sink.result = MetricExportResult.SUCCESS
    exporter(monitor.snapshot(), [])
    assert sink.counts() == {("op", "ok"): 2}
    monitor.record_metric("op", 0.1)
    exporter(monitor.snapshot(), [])
    assert sink.counts() == {("op", "ok"): 1}


def test_closing_shuts_the_official_exporter_down(sink):
    """``close()`` shuts down the wrapped exporter."""
    OtlpExporter(lambda: sink).close()
    assert sink.is_shut_down


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_its_own_connection(monitor):
    """A forked child has a separate connection, instance ID and series of delta exports."""
    made = []

    def connect():
        made.append(Sink(DELTAS))
        return made[-1]

    exporter = OtlpExporter(connect)
    monitor.record_metric("op", 0.1)
    exporter(monitor.snapshot(), [])
    instance = identity(made[0])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            monitor.record_metric("op", 0.1)
            exporter(monitor.snapshot(), [])
            exporter.close()
            seen = [len(made), made[-1].counts()["op", "ok"], identity(made[-1]) != instance]
            os.write(writer, json.dumps([*seen, made[0].is_shut_down]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        assert json.load(pipe) == [2, 1, True, False]
    assert len(made) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_cannot_connect_tries_again(monitor):
    """A forked child that cannot connect tries again, and never uses its parent's connection."""
    sink, calls = Sink(), []

    def connect():
        calls.append(1)
        if len(calls) in {2, 3}:
            raise OSError("no route")
        return sink

    exporter = OtlpExporter(connect)
    child = os.fork()
    if child == 0:
        monitor.record_metric("op", 0.1)
        failures = 0
        for _ in range(3):
            try:
                exporter(monitor.snapshot(), [])
            except OSError:
                failures += 1
        os._exit(0 if (failures, len(sink.given)) == (2, 1) else 1)
    assert os.waitpid(child, 0)[1] == 0


def identity(sink):
    return sink.given[-1].resource_metrics[0].resource.attributes["service.instance.id"]


def test_an_unreachable_collector_is_an_error_within_the_timeout(monitor, monkeypatch):
    """If the collector is unreachable, an export fails within ``OTEL_EXPORTER_OTLP_TIMEOUT``."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    monitor.record_metric("op", 0.1)
    export = start_otlp_export(monitor)
    assert not export.flush(60)
    assert export.last_error.startswith("OtlpExportError")
    export.close()
    assert export.error_count == 2


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [(None, 60), ("", 60), ("1500", 1.5), ("soon", 60), ("-1", 60), ("inf", 60)],
)
def test_the_environment_sets_the_interval(monkeypatch, caplog, interval, seconds):
    """An interval that is not a positive number of milliseconds is logged; 60 s is used instead."""
    if interval is not None:
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", interval)
    with start_otlp_export(connect=Sink) as export:
        assert export.interval == seconds
    assert ("OTEL_METRIC_EXPORT_INTERVAL" in caplog.text) == (interval in {"soon", "-1", "inf"})


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_SDK_DISABLED", "True"), ("OTEL_METRICS_EXPORTER", "none")]
)
def test_the_environment_can_disable_exports(monitor, monkeypatch, variable, value):
    """With exports disabled, no connection is made, and ``flush()`` and ``close()`` succeed."""
    monkeypatch.setenv(variable, value)
    monitor.record_metric("op", 0.1)
    made = []
    export = start_otlp_export(monitor, connect=lambda: made.append(Sink()))
    assert export.flush()
    assert export.close()
    assert made == []


def test_invalid_settings_are_rejected(monkeypatch):
    """The error for an unknown protocol or too few buckets names the invalid setting."""
    with pytest.raises(ValueError, match="max_buckets must be at least 2, got 1"):
        OtlpExporter(Sink, max_buckets=1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon")
    with pytest.raises(ValueError, match=r"http/protobuf or grpc, got 'carrier-pigeon'"):
        OtlpExporter()


@pytest.mark.parametrize(
    ("missing", "hint"),
    [
        ("opentelemetry.sdk", "nanospan[otlp]"),
        ("opentelemetry.exporter.otlp.proto.grpc", "opentelemetry-exporter-otlp-proto-grpc"),
    ],
)
def test_missing_packages_are_named(missing, hint):
    """The error for a missing package names the package to install."""
    code = f"""
import sys
sys.modules[{missing!r}] = None
from nanospan.export.otlp import OtlpExporter
OtlpExporter()
"""
    environment = os.environ | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert f"pip install {hint!r}" in ran.stderr or f"pip install {hint}" in ran.stderr


def test_an_existing_pipeline_includes_the_monitor(monitor):
    """A reader exports the application's and the monitor's metrics under the same resource."""
    sink = Sink({**DELTAS, UpDownCounter: AggregationTemporality.CUMULATIVE})
    reader = PeriodicExportingMetricReader(
        WithNanospan(sink, monitor), export_interval_millis=3_600_000
    )
    provider = MeterProvider([reader], resource=Resource({"service.name": "theirs"}))
    provider.get_meter("app").create_histogram("app.duration").record(1.0)
    monitor.record_metric("op", 0.1)
    provider.force_flush()
    [resource] = sink.given[-1].resource_metrics
    assert resource.resource.attributes["service.name"] == "theirs"
    assert [scope.scope.name for scope in resource.scope_metrics] == ["app", "nanospan"]
    assert sink.counts() == {("op", "ok"): 1}
    # The wrapped exporter's preference applies to both.
    assert resource.scope_metrics[0].metrics[0].data.aggregation_temporality == DELTAS[Histogram]
    provider.get_meter("app").create_histogram("app.duration").record(1.0)
    sink.result = MetricExportResult.FAILURE
    monitor.record_metric("op", 0.1)
    provider.force_flush()
    monitor.record_metric("op", 0.1)
    provider.get_meter("app").create_histogram("app.duration").record(1.0)
    sink.result = MetricExportResult.SUCCESS
    provider.force_flush()
    assert sink.counts() == {("op", "ok"): 2}
    provider.shutdown()
    assert sink.is_shut_down


def test_a_failing_monitor_does_not_fail_the_application_export(monitor, caplog):
    """If building the monitor's metrics fails, the error is logged and the rest is exported."""
    monitor.snapshot = lambda: 1 / 0
    sink = Sink()
    reader = PeriodicExportingMetricReader(
        WithNanospan(sink, monitor), export_interval_millis=3_600_000
    )
    provider = MeterProvider([reader])
    provider.get_meter("app").create_counter("app.count").add(1)
    with caplog.at_level(logging.ERROR, "nanospan"):
        provider.shutdown()
    [resource] = sink.given[-1].resource_metrics
    assert [scope.scope.name for scope in resource.scope_metrics] == ["app"]
    assert "ZeroDivisionError" in caplog.text


def test_metrics_missing_from_an_export_are_in_the_next(monitor, monkeypatch, caplog):
    """Data missing from an otherwise successful export is included in the next delta export."""
    sink = Sink(DELTAS)
    reader = PeriodicExportingMetricReader(
        WithNanospan(sink, monitor), export_interval_millis=3_600_000
    )
    provider = MeterProvider([reader])
    counter = provider.get_meter("app").create_counter("app.count")

    def export(result):
        sink.result = result
        counter.add(1)
        provider.force_flush()

    monitor.record_metric("op", 0.1)
    export(MetricExportResult.FAILURE)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "nanospan"):
        patch.setattr(monitor, "snapshot", lambda: 1 / 0)
        export(MetricExportResult.SUCCESS)
    export(MetricExportResult.SUCCESS)
    assert sink.counts() == {("op", "ok"): 1}
    provider.shutdown()
