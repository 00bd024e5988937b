"""Tests for the table of ratios that ``make bench`` ends with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = Path(__file__).resolve().parents[2] / "benches" / "report.py"
MACHINE = {
    "cpu": {"brand_raw": "Abacus", "count": 2},
    "python_implementation": "CPython",
    "python_version": "3.11.7",
    "system": "Linux",
}


@pytest.fixture
def report(tmp_path):
    """Return a function that runs the report on runs of one group.

    Each run is given as a dict of times in nanoseconds, keyed by subject.
    """

    def run(*runs, options=()):
        paths = []
        for number, subjects in enumerate(runs):
            benches = [
                {
                    "group": "with",
                    "extra_info": {"subject": subject, "calls": 10},
                    "stats": {"min": ns * 10 / 1e9},
                }
                for subject, ns in subjects.items()
            ]
            # Benches without a subject are left out of the table.
            benches.append({"group": "other", "extra_info": {}, "stats": {"min": 1.0}})
            paths.append(tmp_path / f"{number}.json")
            paths[-1].write_text(json.dumps({"benchmarks": benches, "machine_info": MACHINE}))
        command = [sys.executable, REPORT, *paths, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_each_subject_counts_by_its_fastest_run(report, tmp_path):
    """Each subject's time is that of its fastest run; slower runs do not affect the table."""
    runs = [
        {"nanospan": 200, "peer": 620},
        {"nanospan": 100, "peer": 350},
        {"nanospan": 300, "peer": 320},
    ]
    table = tmp_path / "table.md"
    result = report(*runs, options=["--output", table])
    *rows, empty, said = result.stdout.splitlines()
    assert rows == [
        "| what | subject | time per call | relative to nanospan |",
        "| --- | --- | ---: | ---: |",
        "| with | nanospan | 100 ns |  |",
        "| with | peer | 320 ns | 3.20 x |",
    ]
    assert not empty
    assert said == (
        "Fastest rounds of 3 runs by `make bench` on Abacus, 2 cores, CPython 3.11.7, Linux."
    )
    assert table.read_text() == result.stdout


def test_runs_of_different_subjects_are_rejected(report):
    """Runs with different subjects are rejected, because more runs make a fast one likelier."""
    result = report({"nanospan": 100, "peer": 300}, {"nanospan": 100})
    assert result.returncode == 2
    assert "1.json measures different subjects from the preceding files" in result.stderr


def test_peers_alone_are_rejected(report):
    """Results without a time for nanospan are rejected, because the ratios divide by it."""
    result = report({"peer": 300})
    assert (result.returncode, result.stdout) == (2, "")
    assert "the results hold no time for ('with', 'nanospan')" in result.stderr


def test_a_file_that_holds_no_results_is_named(tmp_path):
    """The error for a file without benchmark results names the file, and no table is printed."""
    path = tmp_path / "notes.json"
    path.write_text("[1]")
    command = [sys.executable, REPORT, path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{path} holds no benchmark results" in result.stderr
