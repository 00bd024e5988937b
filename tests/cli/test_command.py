"""Tests for the command line that need no server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nanospan
from nanospan.cli import main


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nanospan", *arguments], capture_output=True, text=True, check=False
    )


def test_no_command_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    """``nanospan`` without arguments lists the commands."""
    assert main([]) == 0
    output = capsys.readouterr().out
    assert "demo" in output
    assert "version" in output


def test_help_of_the_demo_documents_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    """``nanospan demo --help`` names every option and says how to connect to the database."""
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--help"])
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    for word in ("--turns N", "--serve-db DIR", "--json FILE", "psql", "Ctrl-C", "fsync=off"):
        assert word in output


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``nanospan version`` prints the versions of the package and of Python."""
    assert main(["version"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"nanospan {nanospan.__version__}\n")
    assert ".".join(map(str, sys.version_info[:3])) in output


def test_the_package_can_be_run_as_a_module() -> None:
    """``python -m nanospan`` behaves like ``nanospan``."""
    done = _run("version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"nanospan {nanospan.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--turns", "0"], "from 100 to 7097, got 0"),
        (["--turns", "99"], "from 100 to 7097, got 99"),
        (["--turns", "1000000"], "from 100 to 7097"),
        (["--turns", "many"], "invalid int value"),
        (["--json", "/"], "is a directory"),
        (["--json", "/absent/figures.json"], "/absent"),
        (["--serve-db", "/etc/hostname"], "/etc/hostname is not a directory"),
        (["--serve-db", "/etc"], "/etc is neither empty nor a PostgreSQL data directory"),
        (["--serve-db", "/absent/db"], "/absent"),
        (["--speed", "9"], "unrecognized arguments"),
    ],
)
def test_wrong_arguments_end_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong argument is reported, with exit status 2, before any work starts."""
    if "/etc/hostname" in arguments and not Path("/etc/hostname").exists():
        pytest.skip("no /etc/hostname on this system")
    with pytest.raises(SystemExit) as exit_:
        main(["demo", *arguments])
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write to any folder")
def test_unwritable_json_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the folder for ``--json`` is not writable, that is reported before any work starts."""
    tmp_path.chmod(0o500)
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--json", str(tmp_path / "figures.json")])
    assert exit_.value.code == 2
    assert "is not writable" in capsys.readouterr().err


def test_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If an extra is not installed, the command says how to install it."""
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["demo"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "nanospan: the demo needs rich: pip install 'nanospan[demo]'\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "standard output: No space left on device"),
        (OSError(28, "No space left on device", "figures.json"), "figures.json: No space left"),
    ],
)
def test_a_full_disk_during_the_demo_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: OSError,
    message: str,
) -> None:
    """If the demo's output or its JSON file cannot be written, that is reported in one line."""
    session = pytest.importorskip("nanospan.demo.session")

    def run(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr("nanospan.cli.demo.discard_output", lambda: None)
    assert main(["demo"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nanospan: {message}")


def test_commands_import_no_extra_that_they_do_not_use() -> None:
    """``nanospan version`` imports neither psycopg nor rich."""
    code = (
        "import sys; from nanospan.cli import main; main(['version']); "
        "sys.exit(any(name in sys.modules for name in ('psycopg', 'rich', 'pgvector')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_unknown_command_ends_with_2() -> None:
    """An unknown command ends with exit status 2, like any wrong argument."""
    done = _run("dance")
    assert done.returncode == 2
    assert "dance" in done.stderr
