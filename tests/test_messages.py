"""Tests that errors and log records quote at most 200 characters of a value."""

import ast
import logging
from array import array
from pathlib import Path

import pytest

import nanospan
from nanospan import MonitorSnapshot, PerformanceMonitor
from nanospan._core import PrometheusEncoder
from nanospan.alerts import JsonLinesSink, StatisticRule
from nanospan.export.periodic import export_periodically
from nanospan.export.prometheus import start_http_server
from nanospan.export.prometheus.scrape_config import scrape_config, version_of
from nanospan.export.recording_files import read_recording
from nanospan.export.write import write
from nanospan.integrations.asgi import NanospanMiddleware
from nanospan.pool import ConnectionPoolConfig
from nanospan.regression import compare_many
from nanospan.values.baselines import Baseline
from nanospan.values.measurements import Measurement

LONG = "x" * 1_500_000

SHORT_ENOUGH = 1500
"""More characters than any message has whose values are shortened."""

REPRS = {
    "alerts/fields.py": {"close[0]"},
    "alerts/rules.py": {"self.above", "self.below"},
    "demo/corpus.py": {"heading[:40]"},
    "export/prometheus/__init__.py": {"__name__", "name"},
    "export/recording_files.py": {"key"},
    "export/report.py": {"value"},
    "export/tables.py": {"each"},
    "pool/settings.py": {"each"},
    "regression/budget.py": {"comparison"},
    "values/data_files.py": {"str(given)[:40]"},
    "values/documents.py": {"key"},
    "values/json_stream.py": {"shown"},
}
"""What is formatted with ``!r``: numbers, names in the source, what was cut before, and data."""


def span_twice(monitor):
    span = monitor.track_operation(LONG)
    for _ in range(2):
        with span:
            pass


def snapshot_with_a_bad_name():
    monitor = PerformanceMonitor()
    monitor.record_metric("\ud800" + LONG, 1)
    return monitor.snapshot()


def recording(path, text):
    path.write_text(text)
    return read_recording(path)


MISUSES = {
    "duration of a name": lambda m, _: m.record_metric(LONG, "x"),
    "negative duration of a name": lambda m, _: m.record_metric(LONG, -1),
    "duration of a handle": lambda m, _: m.operation(LONG).record(-1.0),
    "duration of a cancelled sample": lambda m, _: m.operation(LONG).record_cancelled(-1),
    "threshold": lambda m, _: m.set_threshold(LONG, -1),
    "span": lambda m, _: span_twice(m),
    "keyword": lambda m, _: m.record_metric("a", 1, **{LONG: 1}),
    "window": lambda _, __: PerformanceMonitor(10**4000),
    "values": lambda _, __: compare_many({LONG: ([1.0], "x")}),
    "pair": lambda _, __: compare_many({LONG: 3}),
    "histogram": lambda _, __: Baseline.from_samples({LONG: array("d", [-1])}),
    "encoding": lambda _, __: PrometheusEncoder([1.0]).encode(LONG, [], []),
    "label": lambda m, _: m.baseline({LONG: 3}),
    "measurement": lambda _, __: Measurement(LONG, LONG, 1),
    "rule": lambda _, __: StatisticRule(LONG, LONG, statistic=LONG, above=1),
    "format": lambda m, path: write(m, path, LONG),
    "content": lambda m, path: write(m, path, "csv", LONG),
    "suffix": lambda m, _: write(m, LONG),
    "plot": lambda m, _: m.plot(LONG),
    "job": lambda _, __: scrape_config(["a:1"], LONG + "\n", "15s", (3, 8)),
    "interval": lambda _, __: scrape_config(["a:1"], "a", LONG, (3, 8)),
    "target": lambda _, __: scrape_config(["://" + LONG], "a", "15s", (3, 8)),
    "version": lambda _, __: version_of(LONG),
    "hosts": lambda _, __: start_http_server(0, allow_hosts=LONG),
    "host": lambda _, __: start_http_server(0, allow_hosts=["/" + LONG]),
    "exclude": lambda _, __: NanospanMiddleware(print, exclude=LONG),
    "excluded": lambda _, __: NanospanMiddleware(print, exclude=[LONG]),
    "seconds": lambda _, __: export_periodically(print, interval=-(10**400)),
    "setting": lambda _, __: ConnectionPoolConfig(min_size=[LONG]),
    "text setting": lambda _, __: ConnectionPoolConfig.from_memfuse_config(
        {"postgres": {"pool_size": LONG}}
    ),
    "metadata": lambda _, path: recording(
        path, f'{{"operation": "a", "duration": 1, "metadata": "{LONG}"}}'
    ),
    "outcome": lambda _, path: recording(
        path, f'{{"operation": "a", "duration": 1, "outcome": "{LONG}"}}'
    ),
    "seconds of a sample": lambda _, path: recording(
        path, f'{{"operation": "a", "duration": "{LONG}"}}'
    ),
    "snapshot": lambda _, __: MonitorSnapshot.from_bytes(LONG.encode()),
}
"""Calls that are given a long value where another one is expected."""


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_an_error_does_not_repeat_a_long_value(monitor, tmp_path, misuse):
    """The text of an error has a limited length, whatever the value was."""
    with pytest.raises((ValueError, TypeError, RuntimeError, AttributeError)) as raised:
        misuse(monitor, tmp_path / "file")
    assert len(str(raised.value)) < SHORT_ENOUGH


def test_a_log_record_does_not_repeat_a_long_value(caplog, tmp_path):
    """The text of a log record has a limited length, whatever an operation is called."""
    monitor = PerformanceMonitor(10, max_operations=1)

    class Callback:
        def __call__(self, *_arguments):
            raise ValueError

        def __repr__(self):
            return LONG

    monitor.add_alert_callback(Callback())
    monitor.add_source(Callback())
    monitor.set_threshold(LONG, 0)
    with caplog.at_level(logging.DEBUG, "nanospan"):
        monitor.record_metric(LONG, 1)
        monitor.record_metric(LONG + "y", 1)
        monitor.measurements()
    assert len(caplog.records) >= 3
    assert max(len(record.getMessage()) for record in caplog.records) < SHORT_ENOUGH
    assert len(str(JsonLinesSink(tmp_path / LONG))) < SHORT_ENOUGH
    assert len(repr(monitor.operation(LONG))) < SHORT_ENOUGH


def test_values_are_formatted_by_the_function_that_shortens_them():
    """No message formats a value with ``!r`` or ``%r``, except those known to be short."""
    package = Path(nanospan.__file__).parent
    found = {}
    for path in package.rglob("*.py"):
        name, text = str(path.relative_to(package)), path.read_text()
        if "!r" not in text and "%r" not in text:  # parsing takes a second
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FormattedValue) and node.conversion == ord("r"):
                found.setdefault(name, set()).add(ast.unparse(node.value))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert "%r" not in node.value, f"{name}, line {node.lineno}"
    assert {n: f for n, f in found.items() if f != REPRS.get(n)} == {}
