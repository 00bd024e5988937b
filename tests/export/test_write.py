"""Test that JSON lines, CSV and Parquet files contain exactly the recorded data."""

import csv
import io
import json
import threading

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from nanospan import PerformanceMonitor
from nanospan.export.safe_json import clean, to_json
from nanospan.export.write import write

NAMES = st.text(min_size=1) | st.sampled_from(['a"b,c', "a\nb\r\n", "'", "\ud800", "=1+1", "\0"])
METADATA = st.none() | st.dictionaries(st.text(), st.text() | st.integers() | st.floats())
SAMPLES = st.lists(st.tuples(NAMES, st.floats(0, 1e6), st.booleans(), METADATA), max_size=30)


def written(source, format_, content="samples"):
    file = io.BytesIO()
    write(source, file, format_, content)
    return file.getvalue()


def read_jsonl(data):
    rows = [json.loads(line) for line in data.decode("utf-8").split("\n") if line]
    return [
        (row["operation"], row["duration"], row["outcome"], row["metadata"], row["timestamp"])
        for row in rows
    ]


def read_csv(data):
    rows = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
    return [
        (
            row["operation"],
            float(row["duration"]),
            row["outcome"],
            json.loads(row["metadata"] or "{}"),
            float(row["timestamp"]),
        )
        for row in rows
    ]


def read_parquet(data):
    table = parquet.read_table(pa.BufferReader(data))
    # Python's datetime does not support nanoseconds.
    timestamps = table["timestamp"].cast(pa.int64())
    rows = table.set_column(1, "timestamp", timestamps).to_pylist()
    return [
        (
            row["operation"],
            row["duration"],
            row["outcome"],
            json.loads(row["metadata"] or "{}"),
            row["timestamp"] / 1e9,
        )
        for row in rows
    ]


READERS = {"jsonl": read_jsonl, "csv": read_csv, "parquet": read_parquet}


@pytest.mark.parametrize("format_", READERS)
@given(samples=SAMPLES)
@settings(max_examples=60)
def test_samples_come_back_as_they_were_recorded(format_, samples):
    """Unusual names, exact durations, outcomes, metadata and times are read back unchanged."""
    monitor = PerformanceMonitor()
    expected = {}
    for name, duration, success, metadata in samples:
        monitor.record_metric(name, duration, success, metadata)
        row = (duration, "ok" if success else "error", json.loads(to_json(metadata or {})))
        expected.setdefault(name, []).append(row)
    rows = READERS[format_](written(monitor, format_))
    assert [row[:4] for row in rows] == [
        (clean(name), *row) for name, of_name in expected.items() for row in of_name
    ]
    exported = monitor.export_metrics()
    times = [sample["timestamp"] for samples_of in exported.values() for sample in samples_of]
    assert [row[4] for row in rows] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize("format_", READERS)
def test_every_outcome_has_its_name(format_, recorded):
    """Each outcome is written under its name, so cancelled and failed samples are distinct."""
    outcomes = [row[2] for row in READERS[format_](written(recorded, format_))]
    assert outcomes == ["ok", "ok", "error", "cancelled", "ok"]


def test_times_are_exact_to_the_nanosecond(recorded):
    """All formats contain the same timestamp for a sample, to the nanosecond."""
    lines = written(recorded, "jsonl").decode().splitlines()
    digits = [line.split('"timestamp":')[1].split(",")[0] for line in lines]
    table = parquet.read_table(pa.BufferReader(written(recorded, "parquet")))
    nanoseconds = table["timestamp"].cast(pa.int64()).to_pylist()
    # Two exports may anchor the wall clock separately, less than a millisecond apart.
    for text, whole in zip(digits, nanoseconds, strict=True):
        assert len(text.split(".")[1]) == 9
        assert int(text.replace(".", "")) == pytest.approx(whole, abs=2_000_000)


def test_more_samples_than_a_chunk_are_written_in_order(monkeypatch):
    """Samples written in several chunks keep their order and their metadata."""
    for module in ("tables", "parquet"):
        monkeypatch.setattr(f"nanospan.export.{module}.CHUNK_ROWS", 1_000)
    monitor = PerformanceMonitor(2_500)
    operation = monitor.operation("op")
    for number in range(2_500):
        operation.record(float(number), True, {"n": number} if number % 7 == 0 else None)
    for format_, read in READERS.items():
        rows = read(written(monitor, format_))
        assert [row[1] for row in rows] == [float(number) for number in range(2_500)]
        assert all(row[3] == ({"n": row[1]} if row[1] % 7 == 0 else {}) for row in rows)


def test_summaries_agree_between_formats_and_with_the_snapshot(recorded):
    """Every format has one summary per operation, with its histogram's counts and quantiles."""
    snapshot = recorded.snapshot()
    lines = [json.loads(line) for line in written(recorded, "jsonl", "summaries").splitlines()]
    table = parquet.read_table(pa.BufferReader(written(snapshot, "parquet", "summaries")))
    rows = list(csv.DictReader(io.StringIO(written(snapshot, "csv", "summaries").decode())))
    assert lines == table.to_pylist()
    query, parse = lines
    assert (query["operation"], parse["operation"]) == ("query", "parse")
    figures = snapshot.operations["query"]
    assert (query["count"], query["error_count"], query["cancelled_count"]) == (4, 1, 1)
    assert (query["cancelled_rate"], parse["cancelled_rate"]) == (0.25, 0)
    assert (query["threshold"], query["violation_count"]) == (0.1, 1)
    assert query["p95"] == figures.all.quantile(0.95)
    assert (query["min"], query["max"]) == (figures.all.min, 0.2)
    assert parse["threshold"] is None
    for line, row in zip(lines, rows, strict=True):
        assert {key: "" if value is None else str(value) for key, value in line.items()} == row


@pytest.mark.parametrize("format_", READERS)
@pytest.mark.parametrize("content", ["samples", "summaries"])
def test_a_monitor_without_samples_makes_a_valid_file(format_, content):
    """A file without rows is valid, and CSV and Parquet still name their columns."""
    data = written(PerformanceMonitor(), format_, content)
    assert data.count(b"\n") <= 1 if format_ != "parquet" else True
    if format_ == "parquet":
        table = parquet.read_table(pa.BufferReader(data))
        assert table.num_rows == 0
        assert "operation" in table.column_names
    if format_ == "csv":
        assert data.startswith(b"operation,")


def test_a_snapshot_has_no_samples(recorded):
    """Exporting samples from a snapshot, which has only summaries, writes no rows."""
    assert written(recorded.snapshot(), "csv") == b"operation,timestamp,duration,outcome,metadata\n"


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("a.jsonl", b'{"operation"'),
        ("a.NDJSON", b'{"operation"'),
        ("a.csv", b"operation,"),
        ("a.parquet", b"PAR1"),
        ("a.json", b'{"displayTimeUnit"'),
    ],
)
def test_the_suffix_chooses_the_format(recorded, tmp_path, name, begin):
    """The format is chosen by the path's suffix."""
    write(recorded, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_invalid_arguments_are_rejected(recorded, tmp_path):
    """Errors name the invalid format, content, suffix or source, and no file is left behind."""
    with pytest.raises(ValueError, match=r"jsonl, csv, parquet, trace, got 'xml'"):
        write(recorded, tmp_path / "a", "xml")
    with pytest.raises(ValueError, match="'all'"):
        write(recorded, tmp_path / "a.csv", content="all")
    with pytest.raises(ValueError, match=r"a\.txt.*set format"):
        write(recorded, tmp_path / "a.txt")
    with pytest.raises(ValueError, match="format must be given for an open file"):
        write(recorded, io.BytesIO())
    with pytest.raises(ValueError, match="content must be 'samples' for format 'trace'"):
        write(recorded, tmp_path / "a.json", content="summaries")
    with pytest.raises(TypeError, match="MonitorSnapshot"):
        write({"a": 1}, tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError):
        write(recorded, tmp_path / "absent" / "a.csv")
    assert not list(tmp_path.iterdir())


def test_parquet_without_pyarrow_says_what_to_install(recorded, tmp_path, monkeypatch):
    """The error for missing pyarrow names the package to install, and no file is left behind."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'nanospan\[arrow\]'"):
        write(recorded, tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


def test_operations_with_few_samples_share_a_batch(monkeypatch):
    """Arrow gets one batch for many small operations, because each batch takes it as long."""
    monitor = PerformanceMonitor(4)
    for number in range(200):
        monitor.record_metric(f"operation {number}", 0.25)
    tables = []
    monkeypatch.setattr(parquet.ParquetWriter, "write_table", lambda _, table: tables.append(table))
    written(monitor, "parquet")
    (table,) = tables
    assert table.num_rows == 200
    assert {column.num_chunks for column in table.columns} == {1}


def test_recording_continues_during_an_export(tmp_path):
    """Exports made while threads record contain only whole rows, and no sample is lost."""
    monitor = PerformanceMonitor(5_000)
    stop = threading.Event()

    def record():
        operation = monitor.operation("op")
        while not stop.is_set():
            operation.record(0.25, True, {"a": "b"})
            operation.record(0.5)

    threads = [threading.Thread(target=record) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            write(monitor, tmp_path / "a.jsonl")
            for line in (tmp_path / "a.jsonl").read_text().splitlines():
                row = json.loads(line)
                assert (row["duration"], row["metadata"]) in [(0.25, {"a": "b"}), (0.5, {})]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
