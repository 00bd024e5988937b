"""Tests for reading baselines as recordings, as ``nanospan export`` and ``report`` do."""

import csv
import io
import json

import pytest

from nanospan.cli import main
from nanospan.export.recording_files import RecordingFileError, read_recording


@pytest.fixture
def baseline(monitor, tmp_path):
    """Save a baseline with two operations and return its path."""
    for number in range(1, 51):
        monitor.record_metric("search", number / 1000)
    monitor.record_metric("store", 0.25)
    path = tmp_path / "baseline.json"
    monitor.baseline({"commit": "4f2a91c"}).save(path)
    return path


def test_samples_and_histograms_are_read(baseline):
    """Durations are read back exactly; times and outcomes, which a baseline lacks, are None."""
    search, store = read_recording(baseline).operations
    assert (search.operation, store.operation) == ("search", "store")
    assert list(memoryview(search.samples().durations).cast("d")) == [
        n / 1000 for n in range(1, 51)
    ]
    assert not search.samples().timed
    assert (store.histogram.count, store.histogram.sum) == (1, 0.25)


def test_commands_read_a_baseline(baseline, tmp_path, capsys):
    """The commands can export a baseline's samples and summaries, and write a report on it."""
    assert main(["export", "jsonl", "--from", str(baseline)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 51
    assert main(["export", "csv", "--summaries", "--from", str(baseline)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["operation"], row["count"]) for row in rows] == [("search", "50"), ("store", "1")]
    assert main(["report", "--from", str(baseline), str(tmp_path / "report.html")]) == 0
    assert "search" in (tmp_path / "report.html").read_text()


def test_a_reformatted_baseline_is_recognised(baseline):
    """A baseline file is recognised in any JSON layout if its first key is ``format``."""
    baseline.write_text(json.dumps(json.loads(baseline.read_text()), sort_keys=True))
    assert len(read_recording(baseline).operations) == 2


def test_a_damaged_baseline_is_an_error_with_the_place(baseline):
    """The error for a damaged baseline names the file and the location in the file."""
    baseline.write_text(baseline.read_text().replace("0.25]", "-0.25]"))
    with pytest.raises(RecordingFileError, match=r"baseline\.json: .*store\.samples\[0\]"):
        read_recording(baseline)
