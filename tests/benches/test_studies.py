"""Tests that run the stand-alone studies in benches/ with very little work.

The measured figures are then meaningless, but the studies' assertions must still hold.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

BENCHES = Path(__file__).resolve().parents[2] / "benches"


def run(study, *arguments, before="", **constants):
    """Run a study with the given constants; return its exit status and output."""
    code = f"""
import sys
{before}
import {study} as study
assert vars(study).keys() >= {constants!r}.keys()
vars(study).update({constants!r})
sys.exit(study.main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=BENCHES,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_scrape():
    """The study of scrapes prints two tables with a row per subject."""
    status, printed = run("scrape", OPERATIONS=20, ROUNDS=1, SCRAPES=1)
    assert status == 0
    assert printed.count("\n") == 15
    assert "nanospan, text and gzip" in printed
    assert "prometheus_client.make_asgi_app" in printed


def test_alerts():
    """The study of alerts asserts that the rules were evaluated, and ends with the median."""
    status, printed = run("alerts", RUNS=1, ROUNDS=1, SECONDS=1.0)
    assert status == 0
    assert "median of 1 runs: " in printed


def test_parallel():
    """The study of parallel recording prints a table with a row per subject."""
    status, printed = run("parallel", CALLS=100, ROUNDS=1)
    assert status == 0
    assert printed.count("\n") == 8


def test_pool_load():
    """Every part of the study prints its verdict, and the status is 1 if a limit is missed."""
    little = {"TASKS": (50,), "CALLS": 10, "ROUNDS": 1, "BURSTS": 1, "OPENED": 30}
    status, printed = run("pool_load", "--seconds", "0.05", **little)
    verdicts = [line.split(":")[0].strip() for line in printed.splitlines() if "(limit: " in line]
    assert len(verdicts) == 4
    assert "met: 0 requests of nanospan failed" in printed
    assert status == ("MISSED" in verdicts)


def test_scaling():
    """The study of scaling prints an exponent per export; the status is 1 if one is too high."""
    little = {"ROUNDS": 1, "CACHES": 0, "HEAP": 0}
    status, printed = run("scaling", "--sizes", "10", "30", **little)
    heads, *rows = printed.splitlines()
    assert heads.split() == ["ms", "at", "operations", "10", "30", "exponent"]
    assert len(rows) > 40
    assert status == ("MISSED" in printed)


def test_regression():
    """Every part of the study prints its rows, and the status is 1 if a row misses its limit."""
    status, printed = run("regression", "--seeds", "1", "--scale", "0.001")
    heads, _, *rows = printed.splitlines()
    assert heads.startswith("| | limit | seed 1 |")
    assert {row.split(",")[0].strip("| ") for row in rows} == {
        "200 operations",
        "false positives",
        "found",
        "history",
        "online",
    }
    assert status == ("MISSED" in printed)


def test_regression_speed():
    """The study prints a line per subject; stubs replace the peers, which need another venv."""
    peers = """
from types import ModuleType, SimpleNamespace
ruptures, otava, analysis = map(ModuleType, ("ruptures", "otava", "otava.analysis"))
sys.modules.update({"ruptures": ruptures, "otava": otava, "otava.analysis": analysis})
analysis.compute_change_points = lambda values: None
fitted = SimpleNamespace(predict=lambda pen: None)
ruptures.KernelCPD = lambda kernel, min_size: SimpleNamespace(fit=lambda values: fitted)
"""
    status, printed = run("regression_speed", before=peers)
    assert status == 1  # nothing is faster than doing nothing
    assert [line.split(",")[0].split(":")[0].strip() for line in printed.splitlines()] == [
        "change_points",
        "compare",
        "ruptures KernelCPD",
        "OnlineDetector.update",
    ]


def test_record(tmp_path):
    """A recording holds the durations of all eight kinds of work."""
    status, _ = run("recorded.record", str(tmp_path / "noise.npz"), "--rounds", "3")
    assert status in (0, None)
    with np.load(tmp_path / "noise.npz") as recording:
        assert [array.shape for array in recording.values()] == [(3,)] * 8
