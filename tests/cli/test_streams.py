"""Tests for standard streams that are full, closed, or pipes that nothing reads."""

import contextlib
import io
import json
import os
import resource
import subprocess
import sys

import pytest

from nanospan.cli import main
from nanospan.cli.streams import LONGEST_MESSAGE
from nanospan.export.write import write

RULES = '[[rule]]\nname = "slow"\noperation = "a"\nstatistic = "p95"\nabove = 1\n'


@pytest.fixture
def files(monitor, tmp_path):
    """Write one file of each kind that a command reads; return their names' prefix."""
    for _ in range(20):
        monitor.record_metric("query", 0.25)
    write(monitor, tmp_path / "samples.jsonl")
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "numbers.json").write_text(json.dumps([1.0, 1.5] * 10))
    return str(tmp_path)


COMMANDS = [
    "--help",
    "compare --help",
    "version",
    "grafana",
    "prometheus-config",
    "alerts check {}/rules.toml",
    "compare {0}/numbers.json {0}/numbers.json",
    "compare --format json {0}/numbers.json {0}/numbers.json",
    "changes {}/numbers.json",
    "ab --runs 2 -- true -- true",
    "export jsonl --from {}/samples.jsonl",
    "export csv --from {}/samples.jsonl",
    "export parquet --from {}/samples.jsonl",
    "export trace --from {}/samples.jsonl",
    "report - --from {}/samples.jsonl",
]
"""A call of each command that prints something, and of each function that prints."""

VERDICTS = ("compare {", "compare --format", "ab", "alerts")
"""The commands whose exit status is their result."""


def run(command, files):
    """Run a command in this process and return its exit status."""
    try:
        return main(command.format(files).split())
    except SystemExit as exit_:
        return exit_.code or 0


@contextlib.contextmanager
def standard_output(monkeypatch, path, *, buffered):
    """Make the file at ``path`` the standard output, optionally as with ``PYTHONUNBUFFERED``."""
    binary = open(path, "wb", buffering=-1 if buffered else 0)  # noqa: PTH123, SIM115 - a number
    with monkeypatch.context() as patch, io.TextIOWrapper(binary, write_through=True) as stream:
        patch.setattr(sys, "stdout", stream)
        yield


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_reported_in_one_line(monkeypatch, files, capsys, command, buffered):
    """If the output does not fit on the disk, every command fails and says so in one line."""
    with standard_output(monkeypatch, "/dev/full", buffered=buffered):
        status = run(command, files)
    assert status == (1 if command.startswith(("export", "report")) else 2)
    assert capsys.readouterr().err == "nanospan: standard output: No space left on device\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_output_is_reported_unless_the_status_is_the_result(
    monkeypatch, files, capsys, command
):
    """With ``>&-``, a command fails if its output was its result, and says so in one line."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        status = run(command, files)
        descriptor = sys.stdout.fileno()
        sys.stdout.close()
        os.close(descriptor)
    if command.startswith(VERDICTS):
        assert (status, capsys.readouterr().err) == (0, "")
    else:
        assert status == (1 if command.startswith(("export", "report")) else 2)
        assert capsys.readouterr().err == "nanospan: standard output: Bad file descriptor\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_may_close_the_pipe(monkeypatch, files, capsys, command):
    """If the reader closes the pipe, no command prints anything about it."""
    reader, writer = os.pipe()
    os.close(reader)
    with standard_output(monkeypatch, writer, buffered=True):
        status = run(command, files)
    assert status == (141 if command.startswith(("export", "report")) else 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if not c.startswith(("ab", "alerts", "prom", "version"))]
)
def test_half_an_output_is_a_failure(monkeypatch, files, tmp_path, command):
    """If an unbuffered output is cut short, as on a disk that becomes full, the command fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    try:
        with standard_output(monkeypatch, tmp_path / "out", buffered=False):
            status = run(command, files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status in {1, 2}
    assert (tmp_path / "out").stat().st_size == 50


@pytest.mark.parametrize("command", ["compare absent absent", "export csv --from absent", "--odd"])
def test_errors_that_cannot_be_written_change_nothing(monkeypatch, capsys, command):
    """If standard error is full, a command ends with the same status, and without a traceback."""
    with monkeypatch.context() as patch, open("/dev/full", "w", buffering=1) as full:  # noqa: PTH123
        patch.setattr(sys, "stderr", full)
        status = run(command, "")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert status == (1 if command.startswith("export") else 2)
    assert capsys.readouterr().out == ""


def test_nothing_is_left_for_the_interpreters_exit():
    """The interpreter does not try to write again what could not be written."""
    script = '"$0" -m nanospan --help >/dev/full; "$0" -m nanospan --help >&- ; "$0" -m nanospan x'
    command = ["sh", "-c", f"{script} 2>/dev/full; echo $?", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == [
        "nanospan: standard output: No space left on device",
        "nanospan: standard output: Bad file descriptor",
    ]
    assert done.stdout == "2\n"


def test_the_values_in_errors_are_shortened(capsys):
    """Values that are rejected on the command line are quoted in part."""
    long = "x" * 100_000
    for command in (
        f"compare --format {long} a b",
        f"compare --fdr {long} a b",
        f"compare {long} b",
        f"alerts check {long}",
        f"export csv --from {long}",
        f"export {long} --from a",
        f"serve --run {long}",
        f"serve {long}",
        f"ab -- {long} -- true",
        f"demo --turns {long}",
        f"demo --json {long}",
        f"demo --serve-db {long}",
        f"prometheus-config ://{long}",
        f"prometheus-config --interval {long}",
        f"prometheus-config --prometheus-version {long}",
        f"changes {long}",
        f"version {long}",
        f"version {'x ' * 50_000}",
        long,
    ):
        assert run(command, "") in {1, 2}
        error = capsys.readouterr().err
        assert 200 < len(error) < LONGEST_MESSAGE + 1500, command
        assert "characters)" in error
