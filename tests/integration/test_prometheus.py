"""Tests that a real Prometheus stores the recorded data, in each scrape format."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from importlib.resources import files

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from servers import free_port, running, server_path

from nanospan import PerformanceMonitor
from nanospan._core import escape_name
from nanospan.cli import main
from nanospan.export.prometheus import Exposition, start_http_server
from nanospan.export.prometheus.scrape_config import FEATURE_FLAG, FIRST_WITH_SETTING, version_of
from nanospan.values.measurements import Measurement

WAIT = 60.0  # in seconds; allows for a heavily loaded machine
DURATION = "nanospan_operation_duration_seconds"
ODD_NAMES = (
    'quotes " and \\ and\nnewline',
    "süß 🦀",
    "lone \ud800",
    r"lone \ud800",
    r"lone \\ud800",
    "{x=~`y`}",
    "\0\r\x1b",
)
QUANTILES = (0.5, 0.9, 0.95, 0.99)

# Each job's settings; those that scrape native histograms get the setting or the flag for it.
PROTOCOLS = {
    "native": "scrape_protocols: [PrometheusProto]",
    "both": "scrape_protocols: [PrometheusProto]\n  always_scrape_classic_histograms: true",
    "openmetrics": "scrape_protocols: [OpenMetricsText1.0.0]",
    "text": "scrape_protocols: [PrometheusText0.0.4]",
}


def _samples():
    """Return random durations in seconds, keyed by the shape of their distribution."""
    draw = random.Random(11)
    return {
        "narrow": [draw.lognormvariate(-6.0, 0.05) for _ in range(20_000)],
        "wide": [draw.lognormvariate(-6.0, 1.0) for _ in range(20_000)],
        "fast": [draw.uniform(80e-9, 120e-9) for _ in range(20_000)],
        "slow tail": [draw.paretovariate(3.0) * 1e-3 for _ in range(20_000)],
    }


def _labels(job, operation, outcome):
    """Return the PromQL label selector for one operation and outcome."""
    quoted = json.dumps(escape_name(operation), ensure_ascii=False)
    return f'{{job="{job}",operation={quoted},outcome="{outcome}"}}'


def _version(program):
    """Return the first two numbers of a Prometheus program's version."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return version_of((done.stdout or done.stderr).split()[2].rstrip(","))


class Prometheus:
    """A client for a Prometheus server's query API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, promql: str) -> list[dict]:
        """Run an instant query, check that there are no warnings, and return the result."""
        arguments = urllib.parse.urlencode({"query": promql})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{arguments}", timeout=30) as answer:
            result = json.load(answer)
        assert "warnings" not in result, (promql, result["warnings"])
        return result["data"]["result"]

    def value(self, promql: str) -> float:
        """Run an instant query that returns a single series; return that series' value."""
        [series] = self.query(promql)
        return float(series["value"][1])

    def until(self, promql: str, enough: int) -> list[dict]:
        """Repeat a query until it returns at least ``enough`` series; return the result."""
        deadline = time.monotonic() + WAIT
        while len(result := self.query(promql)) < enough:
            assert time.monotonic() < deadline, (promql, result)
            time.sleep(0.2)
        return result


@pytest.fixture(scope="module")
def samples():
    return _samples()


@pytest.fixture(scope="module")
def still(samples) -> PerformanceMonitor:
    """Return a monitor that has recorded the samples and no longer changes."""
    monitor = PerformanceMonitor(max_metrics_per_operation=10)
    for name, durations in samples.items():
        operation = monitor.operation(name)
        for duration in durations:
            operation.record(duration)
        operation.record(0.0)
        operation.record(1.0, success=False)
    for name in ODD_NAMES:
        monitor.record_metric(name, 0.1)
    return monitor


def _pool_measurements(wait):
    prefix = "db.client.connection."
    pool = {prefix + "pool.name": "postgresql://app:***@db/shop"}
    calls = 0

    def source():
        nonlocal calls
        calls += 1
        for state in ("idle", "used"):
            attributes = pool | {prefix + "state": state}
            yield Measurement(
                prefix + "count", "up_down_counter", 2, "{connection}", "", attributes
            )
        yield Measurement(prefix + "pending_requests", "up_down_counter", 1, "{request}", "", pool)
        yield Measurement(prefix + "timeouts", "counter", calls, "{timeout}", "", pool)
        for name in ("wait_time", "use_time", "create_time"):
            yield Measurement(prefix + name, "histogram", wait.snapshot(), "s", "", pool)

    return source


@pytest.fixture(scope="module")
def busy():
    """Yield a monitor that constantly records operations and reports measurements of a pool."""
    monitor = PerformanceMonitor(max_metrics_per_operation=10)
    monitor.set_threshold("request", 0.002)
    monitor.add_source(_pool_measurements(monitor.operation("wait")))
    done = threading.Event()

    def work():
        draw = random.Random(12)
        while not done.wait(0.01):
            for name in ("request", "wait"):
                monitor.record_metric(name, draw.lognormvariate(-6.0, 0.5))
            monitor.record_metric("request", 0.001, success=False)

    thread = threading.Thread(target=work)
    thread.start()
    yield monitor
    done.set()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(still, busy, tmp_path_factory):
    """Yield a Prometheus server that scrapes both monitors in every format, once a second."""
    program = server_path("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with start_http_server(0, source=still) as one, start_http_server(0, source=busy) as two:
        jobs = [
            f"- job_name: {protocol}-{name}\n  {settings}\n"
            f"  static_configs: [targets: ['127.0.0.1:{server.port}']]\n"
            for protocol, settings in PROTOCOLS.items()
            for name, server in (("still", one), ("busy", two))
        ]
        has_setting = _version(program) >= FIRST_WITH_SETTING
        native = "scrape_native_histograms: true, " if has_setting else ""
        config = folder / "prometheus.yml"
        config.write_text(
            f"global: {{{native}scrape_interval: 1s, scrape_timeout: 1s}}\n"
            "scrape_configs:\n" + "".join(jobs)
        )
        url = f"http://127.0.0.1:{free_port()}"
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}",
            *([] if has_setting else [FEATURE_FLAG]),
            "--log.level=warn",
        ]
        with running(command, f"{url}/-/ready", folder / "log"):
            server = Prometheus(url)
            server.until("up == 1", len(jobs))
            yield server
            log = (folder / "log").read_text()
        # At this log level, Prometheus logs every rejected sample and nothing else.
        assert log == ""


@pytest.mark.parametrize("protocol", ["openmetrics", "text", "both"])
def test_classic_counts_are_those_recorded(prometheus, still, protocol):
    """In formats with classic buckets, Prometheus stores the recorded counts, sums and buckets."""
    exposed = Exposition(still)
    for name, operation in still.snapshot().operations.items():
        for outcome in ("ok", "error"):
            labels = _labels(f"{protocol}-still", name, outcome)
            histogram = getattr(operation, outcome)
            assert prometheus.value(f"{DURATION}_count{labels}") == histogram.count
            assert prometheus.value(f"{DURATION}_sum{labels}") == histogram.sum
            buckets = prometheus.query(f"{DURATION}_bucket{labels}")
            assert len(buckets) == len(exposed.buckets) + 1
            for bucket in buckets:
                bound = float(bucket["metric"]["le"])
                found = float(bucket["value"][1])
                if bound == float("inf"):
                    assert found == histogram.count
                else:
                    # A value just below a bound may be counted in the next bucket.
                    least = histogram.count_below(bound / 2 ** (1 / 64))
                    assert least <= found <= histogram.count_below(bound)
    assert len(prometheus.query(f'nanospan_operation_in_flight{{job="{protocol}-still"}}')) == len(
        still.snapshot()
    )


@pytest.mark.parametrize("protocol", ["native", "both"])
def test_native_histograms_hold_every_count(prometheus, still, protocol):
    """Native histograms in Prometheus have exactly the recorded counts and sums."""
    for name, operation in still.snapshot().operations.items():
        for outcome in ("ok", "error"):
            labels = _labels(f"{protocol}-still", name, outcome)
            histogram = getattr(operation, outcome)
            assert prometheus.value(f"histogram_count({DURATION}{labels})") == histogram.count
            assert prometheus.value(f"histogram_sum({DURATION}{labels})") == histogram.sum


@pytest.mark.parametrize("quantile", QUANTILES)
def test_native_quantiles_are_within_a_hundredth(prometheus, samples, quantile):
    """``histogram_quantile`` on the native histogram is within 1 % of the exact quantile."""
    for name, durations in samples.items():
        labels = f'{{job="native-still",operation="{name}",outcome="ok"}}'
        estimate = prometheus.value(f"histogram_quantile({quantile}, {DURATION}{labels})")
        # The monitor records whole nanoseconds and has one extra sample of zero per shape.
        ordered = sorted([0.0, *(round(duration * 1e9) / 1e9 for duration in durations)])
        exact = ordered[round(quantile * (len(ordered) - 1))]
        assert estimate == pytest.approx(exact, rel=0.01), name


def test_native_buckets_are_those_recorded(prometheus, still):
    """Prometheus stores native buckets with the recorded bounds and counts."""
    for name in ("narrow", "wide"):
        labels = f'{{job="native-still",operation="{name}",outcome="ok"}}'
        [series] = prometheus.query(f"{DURATION}{labels}")
        found = {
            (float(low), float(high)): float(count)
            for _, low, high, count in series["histogram"][1]["buckets"]
            if float(low) > 0
        }
        snapshot = still.snapshot().operations[name].ok
        while len(snapshot.buckets()) > 160:
            snapshot = snapshot.at_scale(snapshot.scale - 1)
        base = 2**2**-snapshot.scale
        expected = {(base**i, base ** (i + 1)): count for i, count in snapshot.buckets()}
        assert list(found.values()) == list(expected.values())
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--job", 'süß "quoted": #1', "--interval", "1m30s", "a.example:80", "[::1]:9464"],
        ["--interval", "500ms", "https://a.example/m", "https://b.example/m"],
        ["http://127.0.0.1:9464/metrics"],
    ],
)
def test_promtool_accepts_the_printed_scrape_job(arguments, tmp_path, capsys):
    """``promtool check config`` accepts what ``nanospan prometheus-config`` prints."""
    promtool = server_path("promtool")
    version = ".".join(map(str, _version(promtool)))
    assert main(["prometheus-config", "--prometheus-version", version, *arguments]) == 0
    config = tmp_path / "prometheus.yml"
    config.write_text(capsys.readouterr().out)
    checked = subprocess.run(
        [promtool, "check", "config", config], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_promtool_finds_no_fault(still, busy):
    """``promtool check metrics`` finds no problem in the exposed metrics."""
    for monitor in (still, busy):
        checked = subprocess.run(
            [server_path("promtool"), "check", "metrics"],
            input=Exposition(monitor).render(),
            capture_output=True,
            check=False,
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


# Pieces of names that look alike once lone surrogates are escaped.
PIECES = st.sampled_from(["\ud800", "\udfff", "\\", r"\ud800", "ud800", "\n", '"', "{", "a"])
NAMES = st.one_of(
    st.lists(PIECES, min_size=1, max_size=6).map("".join),
    st.text(st.characters(exclude_categories=()), min_size=1),
)


@settings(max_examples=10, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=50, unique=True))
@example(["\ud800", r"\ud800"])
def test_promtool_accepts_any_names(names):
    """Whatever the names of operations and measurements are, no two series coincide."""
    monitor = PerformanceMonitor(max_metrics_per_operation=2)
    for name in names:
        monitor.record_metric(name, 0.1)
    kinds = ("counter", "up_down_counter", "gauge")
    monitor.add_source(
        lambda: [
            Measurement(name, kind, 1, attributes={name: name, "a_": "", "a.": name})
            for name, kind in zip(names, itertools.cycle(kinds))
        ]
    )
    checked = subprocess.run(
        [server_path("promtool"), "check", "metrics"],
        input=Exposition(monitor).render(),
        capture_output=True,
        check=False,
    )
    assert b"not unique" not in checked.stderr
    assert checked.returncode in {0, LINT}, checked.stderr


LINT = 3
"""promtool's exit status if it only dislikes names."""


def _dashboard_queries():
    text = (files("nanospan.export.prometheus") / "dashboard.json").read_text()
    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", ()):
            yield pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")


QUERIES = list(_dashboard_queries())


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_of_the_dashboard_gets_data(prometheus, expression, protocol):
    """Each query of the dashboard returns data without warnings, in every scrape format."""
    for variable, value in {
        "$job": f"{protocol}-busy",
        "$instance": ".*",
        "$operation": ".*",
        "$__rate_interval": "1m",
    }.items():
        expression = expression.replace(variable, value)
    # Repeat the query, because a rate needs two scrapes.
    for series in prometheus.until(expression, 1):
        assert float(series["value"][1]) >= 0
    if "quantile(0.99" in expression and "operation" in expression and "/" not in expression:
        found = {
            s["metric"]["operation"]: float(s["value"][1]) for s in prometheus.query(expression)
        }
        assert 0.002 < found["request"] < 0.02


def test_the_dashboard_variables_have_values(prometheus):
    """The metrics and labels that fill the dashboard's variables exist."""
    text = (files("nanospan.export.prometheus") / "dashboard.json").read_text()
    for variable in json.loads(text)["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = (
                variable["definition"].removeprefix("label_values(")[:-1].rsplit(", ", 1)
            )
            found = prometheus.query(metric.replace("$job", ".*").replace("$instance", ".*"))
            assert found
            assert all(series["metric"][label] for series in found)
