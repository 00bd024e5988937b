"""Tests that export recorded data to real OpenTelemetry receivers."""

import asyncio
import contextlib
import importlib.util
import json
import math
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from servers import free_port, running, server_path

from nanospan import get_performance_monitor
from nanospan.export.otlp import OtlpExporter
from nanospan.pool import ConnectionPoolConfig
from nanospan.values.measurements import Measurement

PATIENCE = 60.0
QUANTILES = (0.5, 0.9, 0.99, 0.999)


def record_requests(monitor, samples=5000):
    """Record three operations; return their sorted durations, keyed by (operation, outcome)."""
    chance = random.Random(11)
    recorded = {}
    monitor.set_threshold("fetch", 0.002)
    for name, spread in [("fetch", 0.3), ("store", 0.6), ('naïve "op"', 0.1)]:
        for _ in range(samples):
            duration = round(chance.lognormvariate(-6.5, spread), 9)
            success = chance.random() < 0.9
            monitor.record_metric(name, duration, success)
            recorded.setdefault((name, "ok" if success else "error"), []).append(duration)
    monitor.record_metric("fetch", 0.0)
    recorded["fetch", "ok"].append(0.0)
    monitor.operation("store").record_cancelled(0.125)
    recorded["store", "cancelled"] = [0.125]
    monitor.add_source(
        lambda: [
            Measurement(
                "db.client.connection.count",
                "up_down_counter",
                3,
                "{connection}",
                "Connections.",
                {"db.client.connection.state": "idle"},
            )
        ]
    )
    return {key: sorted(durations) for key, durations in recorded.items()}


def exact(durations, q):
    return durations[max(1, math.ceil(q * len(durations))) - 1]


def base(monitor, operation, outcome):
    """Return the ratio of a bucket's upper to its lower bound in the exported histogram."""
    histogram = getattr(monitor.snapshot().operations[operation], outcome)
    return 2 ** (2.0 ** -histogram.with_at_most(160).scale)


@pytest.fixture
def collector(tmp_path):
    """Yield a running rotel collector."""
    package = importlib.util.find_spec("rotel")
    if package is None:
        pytest.skip("rotel has no wheel for this platform")
    http, grpc = free_port(), free_port()
    log = tmp_path / "rotel.log"
    command = [Path(package.origin).with_name("rotel-agent"), "start", "--exporter=blackhole"]
    command += ["--debug-log=metrics", "--debug-log-verbosity=detailed"]
    command += [f"--otlp-http-endpoint=127.0.0.1:{http}", f"--otlp-grpc-endpoint=127.0.0.1:{grpc}"]
    command += [f"--pid-file={tmp_path / 'rotel.pid'}", f"--log-file={tmp_path / 'agent.log'}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        for port in (http, grpc):
            wait_until(lambda port=port: listens(port))
        yield Collector(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}", log)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


class Collector:
    """A running rotel collector, whose log is parsed to read the exports that it received."""

    def __init__(self, http, grpc, log):
        self.http = http
        self.grpc = grpc
        self.log = log

    def received(self, exports=1, last="db.client.connection.count"):
        """Wait for at least ``exports`` complete exports, each ending with the metric ``last``.

        Return a pair for each export: the resource, and the data points keyed by metric name and
        attributes.
        """

        def whole():
            texts = self.log.read_text().split("ResourceMetrics #")[1:]
            end = re.compile(re.escape(last) + r"\n[\s\S]*\n(?:Value|Max): \S+\n")
            texts = [text for text in texts if end.search(text)]
            return texts if len(texts) >= exports else None

        return [parse(text) for text in wait_until(whole)]


def parse(text):
    head, *metrics = re.split(r"\nMetric #\d+", text)
    resource = dict(re.findall(r"-> (\S+): Str\((.*)\)", head))
    points = {}
    for metric in metrics:
        description, *parts = re.split(r"\n\w+DataPoints #\d+", metric)
        name = re.search(r"-> Name: (.*)", description)[1]
        for part in parts:
            attributes = dict(re.findall(r"-> (\S+): Str\((.*)\)", part))
            point = dict(re.findall(r"\n(\w+): (\S+)", part))
            point["unit"] = re.search(r"-> Unit: (.*)", description)[1]
            point["temporality"] = "".join(re.findall("TEMPORALITY_([A-Z]+)", description))
            point["buckets"] = [
                (float(low), float(high), int(count))
                for low, high, count in re.findall(
                    r"Bucket [(\[](\S+), (\S+)\], Count: (\d+)", part
                )
                if int(count)
            ]
            points[(name, *attributes.values())] = point
    return resource, points


def quantile(buckets, q):
    """Estimate a quantile as the harmonic mean of the bounds of the bucket that contains it."""
    rank = max(1, math.ceil(q * sum(count for _, _, count in buckets)))
    for low, high, count in buckets:
        rank -= count
        if rank <= 0:
            return 2 * low * high / (low + high) if low else 0.0
    raise AssertionError


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_receives_what_was_recorded(monitor, collector, monkeypatch, protocol):
    """An exporter configured by environment variables delivers all recorded data.

    Counts, sums and buckets are exact, and quantiles are within the documented error.
    """
    recorded = record_requests(monitor)
    endpoint = collector.grpc if protocol == "grpc" else collector.http
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "memory")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,team=red")
    exporter = OtlpExporter()
    exporter(monitor.snapshot(), monitor.measurements())
    exporter.close()
    [(resource, points)] = collector.received()
    assert resource["service.name"] == "memory"
    assert resource["team"] == "red"
    assert len(resource["service.instance.id"]) == 36
    for key, durations in recorded.items():
        point = points[("nanospan.operation.duration", *key)]
        assert int(point["Count"]) == len(durations)
        assert float(point["Sum"]) == pytest.approx(sum(durations))
        assert (point["unit"], point["temporality"]) == ("s", "CUMULATIVE")
        left = list(durations)
        for low, high, count in point["buckets"]:
            here, left = left[:count], left[count:]
            assert all(low <= value <= high for value in here)
        assert not left
        width = base(monitor, *key)
        for q in QUANTILES:
            error = quantile(point["buckets"], q) - exact(durations, q)
            assert abs(error) <= exact(durations, q) * (width - 1) / (width + 1) * 1.0001
    slow = [d for (name, _), each in recorded.items() if name == "fetch" for d in each if d > 0.002]
    assert int(points["nanospan.operation.violations", "fetch"]["Value"]) == len(slow) > 0
    assert float(points["nanospan.operation.threshold", "fetch"]["Value"]) == 0.002
    assert int(points["db.client.connection.count", "idle"]["Value"]) == 3


def test_a_collector_receives_differences(monitor, collector, monkeypatch):
    """With delta temporality, each export contains only the samples since the previous export."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    exporter = OtlpExporter()
    recorded = record_requests(monitor, samples=500)
    exporter(monitor.snapshot(), monitor.measurements())
    collector.received()
    for _ in range(7):
        monitor.record_metric("fetch", 0.001)
    exporter(monitor.snapshot(), monitor.measurements())
    exporter.close()
    first, second = [points for _, points in collector.received(exports=2)]
    key = ("nanospan.operation.duration", "fetch", "ok")
    assert int(first[key]["Count"]) == len(recorded["fetch", "ok"])
    assert int(second[key]["Count"]) == 7
    assert second[key]["temporality"] == "DELTA"
    assert second[key]["StartTimestamp"] == first[key]["Timestamp"]
    assert ("nanospan.operation.duration", "store", "ok") not in second


async def test_a_collector_receives_the_state_of_pools(manager, database, collector, monkeypatch):
    """The exported metrics of a real pool follow OpenTelemetry's semantic conventions."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http)
    config = ConnectionPoolConfig(min_size=2, max_size=3)
    pool = await manager.get_connection_pool(database, config)
    async with pool.connection():
        pass
    async with pool.connection():
        monitor = get_performance_monitor()
        exporter = OtlpExporter()
        await asyncio.to_thread(exporter, monitor.snapshot(), monitor.measurements())
    exporter.close()
    [(_, points)] = collector.received(last="db.client.connection.use_time")
    [name] = {key[1] for key in points if key[0].startswith("db.client.connection.")}
    assert name in manager.get_pool_statistics()
    for key, value in {
        ("count", name, "used"): 1,
        ("idle.min", name): 2,
        ("idle.max", name): 3,
        ("max", name): 3,
        ("pending_requests", name): 0,
        ("timeouts", name): 0,
    }.items():
        assert int(points[("db.client.connection." + key[0], *key[1:])]["Value"]) == value
    for key, least in {"create_time": 1, "wait_time": 2, "use_time": 1}.items():
        point = points["db.client.connection." + key, name]
        assert int(point["Count"]) >= least
        assert point["unit"] == "s"


PROGRAM = """
from nanospan import get_performance_monitor
from nanospan.export.otlp import start_otlp_export
from nanospan.values.measurements import Measurement
start_otlp_export()
monitor = get_performance_monitor()
monitor.add_source(lambda: [Measurement("db.client.connection.count", "up_down_counter", 1)])
for _ in range(100):
    monitor.record_metric("op", 0.01)
"""


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_program_that_exits_has_sent_everything(collector, protocol):
    """A program that exits without an explicit flush still exports its latest samples."""
    environment = os.environ | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc if protocol == "grpc" else collector.http,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_SERVICE_NAME": "short-lived",
    }
    subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], env=environment, check=True)
    [(resource, points)] = collector.received()
    assert resource["service.name"] == "short-lived"
    assert points["nanospan.operation.duration", "op", "ok"]["Count"] == "100"


def test_a_service_that_is_terminated_has_sent_everything(collector, tmp_path):
    """The example service exports its latest samples when it is stopped with SIGTERM."""
    service = Path(__file__).parents[2] / "examples" / "notes_service.py"
    port = free_port()
    variables = [f"PORT={port}", f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.http}"]
    command = ["env", *variables, sys.executable, service]
    url = f"http://127.0.0.1:{port}"
    with running(command, f"{url}/metrics", tmp_path / "service.log") as process:
        with urllib.request.urlopen(f"{url}/search?text=tea", timeout=PATIENCE) as response:
            assert response.read() == b"[]"
        process.terminate()
        process.wait(PATIENCE)
    [(_, points)] = collector.received(last="nanospan.operation.in_flight")
    assert points["nanospan.operation.duration", "GET /search", "ok"]["Count"] == "1"


@pytest.fixture
def victoria_metrics(tmp_path):
    """Yield the URL of a newly started VictoriaMetrics server."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [server_path("victoria-metrics"), f"-httpListenAddr={url.removeprefix('http://')}"]
    command += [f"-storageDataPath={tmp_path / 'data'}", "-retentionPeriod=1d"]
    with running(command, f"{url}/health", tmp_path / "victoria-metrics.log"):
        yield url


def ask(url, query):
    """Run an instant query; return the values keyed by (operation, outcome)."""
    with urllib.request.urlopen(f"{url}/internal/force_flush", timeout=PATIENCE):
        pass  # This makes the received data visible to queries.
    parameters = urllib.parse.urlencode({"query": query, "nocache": 1, "latency_offset": "1ms"})
    with urllib.request.urlopen(f"{url}/api/v1/query?{parameters}", timeout=PATIENCE) as answer:
        result = json.load(answer)["data"]["result"]
    return {
        (each["metric"].get("operation"), each["metric"].get("outcome")): float(each["value"][1])
        for each in result
    }


def test_victoria_metrics_agrees(monitor, victoria_metrics, monkeypatch):
    """VictoriaMetrics has the exact counts, and its quantiles are off by at most one bucket."""
    recorded = record_requests(monitor)
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{victoria_metrics}/opentelemetry/v1/metrics"
    )
    exporter = OtlpExporter()
    exporter(monitor.snapshot(), monitor.measurements())
    exporter.close()
    name = "nanospan.operation.duration"
    counts = wait_until(lambda: ask(victoria_metrics, f'{{__name__="{name}_count"}}'))
    assert {key: count for key, count in counts.items() if count} == {
        key: len(durations) for key, durations in recorded.items()
    }
    sums = ask(victoria_metrics, f'{{__name__="{name}_sum"}}')
    for key, durations in recorded.items():
        assert sums[key] == pytest.approx(sum(durations))
    for q in QUANTILES:
        query = (
            f'histogram_quantile({q}, sum({{__name__="{name}_bucket"}}) '
            "by (operation, outcome, vmrange))"
        )
        quantiles = ask(victoria_metrics, query)
        for key, durations in recorded.items():
            error = quantiles[key] / exact(durations, q) - 1
            print(key, q, f"{error:+.3%}")
            # VictoriaMetrics stores bucket bounds with four digits and interpolates between bounds.
            assert abs(error) <= base(monitor, *key) - 1 + 0.0005
    [violations] = ask(victoria_metrics, '{__name__="nanospan.operation.violations"}').values()
    slow = [d for (name, _), each in recorded.items() if name == "fetch" for d in each if d > 0.002]
    assert violations == len(slow)
