"""Tests that run ``nanospan demo`` in a separate process, as a user would."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from nanospan.demo.session import NAIVE_DATABASE, NANOSPAN_DATABASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPERATIONS = (
    "connection_pool_access",
    "pgvector_registration",
    "pool_health_check",
    "service_access",
    "buffer_flush",
    "m0_operation",
    "m1_operation",
    "m2_operation",
    "query",
)
DEMO = [sys.executable, "-u", "-m", "nanospan", "demo"]
PATIENCE = 60.0


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Yield a folder for the demo's temporary files; check that it is empty after the test."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    try:
        assert _processes_in(folder) == []
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a folder for results that the database server's user can access."""
    folder = Path(tempfile.mkdtemp(prefix="place-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def _processes_in(folder: Path) -> list[list[str]]:
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return [command for command in commands if any(str(folder) in part for part in command)]


def _environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary), "NO_COLOR": "1"}


def _start(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEMO, *arguments],
        env=_environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _read_until(demo: subprocess.Popen[str], beginning: str) -> str:
    """Read the demo's output up to and including the first line that starts with ``beginning``."""
    assert demo.stdout is not None
    output = ""
    for line in demo.stdout:
        output += line
        if line.startswith(beginning):
            return output
    raise AssertionError(demo.communicate(timeout=PATIENCE)[1])


def _serves_requests(demo: subprocess.Popen[str]) -> bool:
    """Return True if the naive way has a connection while the pool's connections are open."""
    titles = []
    for process in psutil.Process(demo.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            titles += process.cmdline()
    return all(
        any(f" {database} [local]" in title for title in titles)
        for database in (NAIVE_DATABASE, NANOSPAN_DATABASE)
    )


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_prints_both_tables_and_writes_them_as_json(temporary: Path, place: Path) -> None:
    """A short run prints both tables and writes the same figures to the JSON file."""
    file = place / "figures.json"
    done = subprocess.run(
        [*DEMO, "--turns", "300", "--json", str(file)],
        env=_environment(temporary),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    figures = json.loads(file.read_text())
    assert [path.name for path in place.iterdir()] == ["figures.json"]

    printed = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.split()}
    assert tuple(row["operation"] for row in figures["operations"]) == OPERATIONS
    for row in figures["operations"]:
        cells = printed[row["operation"]]
        assert cells[1] == f"{row['count']:,}"
        assert float(cells[2]) == pytest.approx(row["mean"] * 1e3, rel=0.01, abs=0.001)
        assert float(cells[6]) == pytest.approx(row["threshold"] * 1e3)
        assert (
            cells[7] == row["verdict"] == ("within" if row["p95"] <= row["threshold"] else "over")
        )
        assert 0 < row["p50"] <= row["p95"] <= row["p99"]
    counts = {row["operation"]: row["count"] for row in figures["operations"]}
    assert counts["buffer_flush"] == counts["m1_operation"] == counts["query"] == 150
    assert figures["rows"]["m0_turn"] == 300

    for row, beginning in zip(
        figures["gains"], ("request latency", "throughput", "acquisition latency"), strict=True
    ):
        (line,) = (text for text in done.stdout.splitlines() if text.strip().startswith(beginning))
        expected = (
            row["nanospan"] / row["naive"]
            if row["kind"] == "ratio"
            else 1 - row["nanospan"] / row["naive"]
        )
        assert row["gain"] == pytest.approx(expected)
        shown = f"{row['gain']:.2f} x" if row["kind"] == "ratio" else f"{-row['gain']:+.1%}"
        assert shown in line
        assert ("not better" in line) == (row["gain"] <= row["published"])


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [
        (signal.SIGINT, 130, "nanospan: interrupted\n"),
        (signal.SIGTERM, 143, "nanospan: terminated\n"),
    ],
)
def test_signal_during_the_work(
    temporary: Path, number: signal.Signals, status: int, message: str
) -> None:
    """On a signal, the demo prints one line, cleans up, and exits with the signal's status."""
    demo = _start(temporary, "--turns", "7000")
    _read_until(demo, "PostgreSQL started")
    _wait_for(lambda: _serves_requests(demo))
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (status, message)


@pytest.mark.parametrize("times", [1, 5])
def test_interrupt_while_the_server_starts(temporary: Path, times: int) -> None:
    """Pressing Ctrl-C during startup, even repeatedly, leaves nothing behind."""
    demo = _start(temporary)
    _wait_for(lambda: list(temporary.iterdir()))
    for _ in range(times):
        demo.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, errors = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 130
    assert errors == "nanospan: interrupted\n"


def test_failure_during_the_work(temporary: Path) -> None:
    """If the service raises an exception, the demo fails and leaves nothing behind."""
    code = """
import sys
from nanospan.cli import main
from nanospan.demo.service import MemoryService

asked = 0
recall = MemoryService.recall

async def failing(self, question):
    global asked
    asked += 1
    if asked == 30:
        raise RuntimeError("injected")
    return await recall(self, question)

MemoryService.recall = failing
sys.exit(main(["demo", "--turns", "400"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=_environment(temporary),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError: injected" in done.stderr
    assert "Operations" not in done.stdout


def test_serves_a_kept_database_until_interrupted(temporary: Path, place: Path) -> None:
    """With --serve-db, clients can read the tables at the printed URL, even in a second run."""
    directory = place / "db"
    for _ in range(2):
        demo = _start(temporary, "--turns", "100", "--serve-db", str(directory))
        output = _read_until(demo, "Ctrl-C stops")
        assert str(directory) in output
        served = re.search(r"^  psql '(.+?)'", output, re.MULTILINE)
        assert served is not None
        assert f"Serving {served[1]}\n" in output
        with psycopg.connect(served[1]) as connection:
            assert connection.execute("SELECT count(*) FROM m0_turn").fetchone() == (100,)
        demo.send_signal(signal.SIGINT)
        rest, errors = demo.communicate(timeout=PATIENCE)
        assert (demo.returncode, rest, errors) == (0, "Stopped.\n", "")
        assert (directory / "PG_VERSION").exists()
