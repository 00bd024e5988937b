"""Tests for ``nanospan export`` and ``nanospan report`` on files."""

import csv
import io
import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from nanospan import MonitorSnapshot, PerformanceMonitor
from nanospan.cli import main
from nanospan.export.write import write


@pytest.fixture
def samples(monitor, tmp_path):
    """Write six samples to a JSON-lines file; return its path."""
    monitor.set_threshold("query", 0.5)
    for number in range(5):
        monitor.record_metric("query", number / 4, number > 0, {"number": number})
    monitor.record_metric("parse", 0.001)
    write(monitor, tmp_path / "samples.jsonl")
    return tmp_path / "samples.jsonl"


@pytest.fixture
def snapshot(monitor, tmp_path):
    """Save a monitor's snapshot to a file; return its path."""
    monitor.record_metric("query", 0.25)
    monitor.record_metric("query", 0.5, success=False)
    (tmp_path / "one.snapshot").write_bytes(monitor.snapshot().to_bytes())
    return tmp_path / "one.snapshot"


def export(*arguments):
    return main(["export", *map(str, arguments)])


def test_samples_are_exported_to_every_table_format(samples, tmp_path):
    """CSV and Parquet exports have the rows of the JSON lines; JSON lines are merely copied."""
    for kind in ("csv", "parquet", "jsonl"):
        assert export(kind, "--from", samples, "-o", tmp_path / f"out.{kind}") == 0
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    table = pq.read_table(tmp_path / "out.parquet", columns=["operation", "duration"]).to_pylist()
    with (tmp_path / "out.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    for of_table in (table, lines):
        assert [row["operation"] for row in of_table] == [row["operation"] for row in rows]
        assert [float(row["duration"]) for row in of_table] == [row["duration"] for row in rows]
    assert (tmp_path / "out.jsonl").read_bytes() == samples.read_bytes()


def test_a_snapshot_is_exported_as_summaries(snapshot, capsys):
    """The CSV export of a snapshot, which holds no samples, has one row per operation."""
    assert export("csv", "--from", snapshot) == 0
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["operation"], row["count"], row["max"]) == ("query", "2", "0.5")
    assert row["error_count"] == "1"


def test_samples_are_exported_as_a_trace(samples, tmp_path):
    """A trace has one event per sample, and the names of failed samples end in "error"."""
    assert export("trace", "--from", samples, "-o", tmp_path / "trace.json") == 0
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert len(spans) == 6
    assert [event["name"] for event in spans if event["args"]["outcome"] == "error"] == [
        "query: error"
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected a snapshot"),
        (b"NSM garbage", "snapshot"),
        (b'{"operation": "a", "duration": -1}\n', "line 1: 'duration' must be a number of seconds"),
        (b'{"operation": "a", "duration": 1}\n{"duration": 2}\n', "line 2: a sample must be"),
        (b'{"operation": "a", "duration": 1, "outcome": "fine"}\n', "'outcome' must be one of ok"),
        (b'{"operation": "\xff"}\n', "line 1"),
    ],
)
def test_an_invalid_recording_is_rejected(content, words, tmp_path, capsys):
    """The error for an invalid file names the file and what is wrong; no output file is created."""
    path, out = tmp_path / "in", tmp_path / "out.csv"
    path.write_bytes(content)
    assert export("csv", "--from", path, "-o", out) == 1
    error = capsys.readouterr().err
    assert str(path) in error
    assert words in error
    assert not out.exists()


def test_a_trace_needs_times(snapshot, tmp_path, capsys):
    """Exporting a snapshot as a trace fails, and the error says that timestamps are needed."""
    assert export("trace", "--from", snapshot, "-o", tmp_path / "trace.json") == 1
    assert "source must have samples with timestamps for a timeline" in capsys.readouterr().err


def test_a_missing_file_is_reported(tmp_path, capsys):
    """The error for a missing file contains its name and the operating system's message."""
    assert export("csv", "--from", tmp_path / "absent") == 1
    assert "absent: No such file or directory" in capsys.readouterr().err


def test_a_missing_package_is_reported_before_anything_is_read(tmp_path, capsys, monkeypatch):
    """Without pyarrow, the export to Parquet fails at once and says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    output = tmp_path / "out.parquet"
    assert export("parquet", "--from", tmp_path / "absent", "-o", output) == 1
    assert capsys.readouterr().err.endswith("pip install 'nanospan[arrow]'\n")
    assert not output.exists()


def test_a_reader_that_closes_the_pipe(samples):
    """If the reader closes the pipe, the command exits with 141 and prints no traceback."""
    command = f"{sys.executable} -m nanospan export jsonl --from {samples}"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command.split(), stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_report_with_a_baseline(samples, tmp_path, capsys):
    """``--baseline`` adds a comparison to the report, or fails without common operations."""
    before = PerformanceMonitor()
    for _ in range(20):
        before.record_metric("query", 0.01)
    before.baseline().save(tmp_path / "base.json")
    page = tmp_path / "report.html"
    assert main(["report", str(page), "--from", str(samples), "--title", "Tuesday"]) == 0
    assert "since baseline" not in page.read_text()
    base = ["--baseline", str(tmp_path / "base.json")]
    assert main(["report", str(page), "--from", str(samples), *base]) == 0
    assert "since baseline" in page.read_text()
    assert "<h1>nanospan report</h1>" in page.read_text()
    other = PerformanceMonitor()
    other.record_metric("other", 0.01)
    other.baseline().save(tmp_path / "base.json")
    assert main(["report", str(page), "--from", str(samples), *base]) == 1
    assert "no samples for any operation in" in capsys.readouterr().err


def test_summaries_have_the_figures_of_the_snapshot(snapshot, capsys):
    """Exported summaries have the snapshot's count, maximum and median."""
    assert export("jsonl", "--from", snapshot) == 0
    row = json.loads(capsys.readouterr().out)
    taken = MonitorSnapshot.from_bytes(snapshot.read_bytes()).operations["query"].all
    assert (row["count"], row["max"], row["p50"]) == (taken.count, taken.max, taken.quantile(0.5))
