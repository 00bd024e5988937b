"""Tests that exporters keep different operations apart, whatever their names are."""

from __future__ import annotations

import csv
import io
import json
import re
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nanospan import PerformanceMonitor
from nanospan._core import escape_name, unescape_name
from nanospan.export.otlp.metrics import MetricsBuilder
from nanospan.export.prometheus import Exposition
from nanospan.export.recording_files import read_recording
from nanospan.export.report import write_report
from nanospan.export.write import write

# Pieces of names that look alike once lone surrogates are escaped.
PIECES = st.sampled_from(["\ud800", "\udfff", "\\", "\\ud800", "ud800", "u", "d8", "00", "a"])
NAMES = st.one_of(
    st.lists(PIECES, min_size=1, max_size=6).map("".join),
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=20),
)
ALIKE = ("\ud800", r"\ud800", r"\\ud800", "\\\ud800", "ud800")


@given(NAMES)
@example("\ud83d\ude00")
def test_a_name_comes_back_from_its_text(name):
    """Different names have different texts, which UTF-8 can encode; ordinary names are kept."""
    text = escape_name(name)
    assert unescape_name(text.encode().decode()) == name
    if r"\ud" not in name and not re.search("[\ud800-\udfff]", name):
        assert text is name


def _monitor_of(names):
    monitor = PerformanceMonitor(max_metrics_per_operation=2)
    for name in names:
        monitor.record_metric(name, 0.1)
    return monitor


def _written(monitor, form, content="samples"):
    file = io.BytesIO()
    write(monitor, file, form, content)
    return file.getvalue().decode()


def _in_prometheus(monitor):
    for family in parse_text(Exposition(monitor).render().decode()):
        if family.name == "nanospan_operation_in_flight":
            return [sample.labels["operation"] for sample in family.samples]
    return []


def _in_openmetrics(monitor):
    text = Exposition(monitor).render("openmetrics").decode()
    return re.findall(r'(?m)^nanospan_operation_in_flight\{operation="((?:.|\n)*?)"\} 0$', text)


def _in_protobuf(monitor):
    content = Exposition(monitor).render("protobuf").partition(b"nanospan_operation_in_flight")[2]
    # A label is its name and value, each after its length, which here fits into one byte.
    places = [label.end() for label in re.finditer(rb"\n\toperation\x12", content)]
    return [content[at + 1 :][: content[at]].decode() for at in places]


def _in_otlp(monitor):
    scope = MetricsBuilder({}, 160).build(monitor.snapshot(), [])
    [durations] = [m for m in scope.metrics if m.name == "nanospan.operation.in_flight"]
    return [point.attributes["operation"] for point in durations.data.data_points]


def _in_csv(monitor, content="samples"):
    rows = csv.reader(io.StringIO(_written(monitor, "csv", content), newline=""))
    return [row[0] for row in rows][1:]


def _in_trace(monitor):
    events = json.loads(_written(monitor, "trace"))["traceEvents"]
    return [event["args"]["name"] for event in events if event["name"] == "thread_name"]


def _in_report(monitor):
    file = io.BytesIO()
    write_report(monitor, file)
    return [
        unescape(each) for each in re.findall(r"<h2>((?:.|\n)*?)</h2>", file.getvalue().decode())
    ]


EXPORTS = {
    "Prometheus text": _in_prometheus,
    "OpenMetrics": _in_openmetrics,
    "protobuf": _in_protobuf,
    "OTLP": _in_otlp,
    "CSV": _in_csv,
    "CSV of summaries": lambda monitor: _in_csv(monitor, "summaries"),
    "trace": _in_trace,
    "report": _in_report,
}


@pytest.mark.parametrize("names_in", EXPORTS.values(), ids=EXPORTS)
@settings(max_examples=15, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=8, unique=True))
@example(list(ALIKE))
def test_every_operation_has_a_name_of_its_own_in_an_export(names_in, names):
    """No two operations share a name in any exported format."""
    exported = names_in(_monitor_of(names))
    assert len(exported) == len(set(exported)) == len(names)


@settings(max_examples=15, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=8, unique=True))
@example(list(ALIKE))
def test_saved_samples_are_read_back_under_their_names(names):
    """JSON lines of samples are read back as the operations that were written."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "samples.jsonl"
        write(_monitor_of(names), path)
        assert [each.operation for each in read_recording(path).operations] == names
