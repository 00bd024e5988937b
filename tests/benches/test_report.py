"""The table of ratios that `make bench` ends with."""

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
    """Runs the report on runs of one group, each given as nanoseconds by subject."""

    def run(*runs, options=()):
        paths = []
        for number, subjects in enumerate(runs):
            benches = [
                {
                    "group": "with",
                    "extra_info": {"subject": subject, "calls": 10},
                    "stats": {"median": ns * 10 / 1e9},
                }
                for subject, ns in subjects.items()
            ]
            # Benches without a subject have no place in the table.
            benches.append({"group": "other", "extra_info": {}, "stats": {"median": 1.0}})
            paths.append(tmp_path / f"{number}.json")
            paths[-1].write_text(json.dumps({"benchmarks": benches, "machine_info": MACHINE}))
        command = [sys.executable, REPORT, *paths, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_a_ratio_is_the_median_of_those_within_each_run(report, tmp_path):
    """A machine twice as slow in some of the runs moves no ratio; times are of the fastest."""
    runs = [
        {"perfuse": 100, "peer": 300},
        {"perfuse": 200, "peer": 620},
        {"perfuse": 200, "peer": 580},
    ]
    table = tmp_path / "table.md"
    result = report(*runs, options=["--output", table])
    *rows, empty, said = result.stdout.splitlines()
    assert rows == [
        "| what | subject | time per call | beside perfuse |",
        "| --- | --- | ---: | ---: |",
        "| with | perfuse | 100 ns |  |",
        "| with | peer | 300 ns | 3.00 x |",
    ]
    assert not empty
    assert said.startswith("3 runs by `make bench`:")
    assert said.endswith("on Abacus, 2 cores, CPython 3.11.7, Linux.")
    assert table.read_text() == result.stdout


def test_runs_of_different_subjects_are_refused(report):
    """Medians of what only some runs measured would mislead."""
    result = report({"perfuse": 100, "peer": 300}, {"perfuse": 100})
    assert result.returncode == 2
    assert "the runs measure different subjects" in result.stderr


def test_a_file_that_holds_no_results_is_named(tmp_path):
    """A file of something else ends the report with its name, and no table."""
    path = tmp_path / "notes.json"
    path.write_text("[1]")
    command = [sys.executable, REPORT, path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{path} holds no benchmark results" in result.stderr
