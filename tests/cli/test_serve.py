"""Tests for ``nanospan serve`` and ``nanospan grafana``."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from nanospan import PerformanceMonitor
from nanospan.cli import main
from nanospan.export.prometheus.saved import SavedExposition

PROGRAM = """
import sys, nanospan
with nanospan.get_performance_monitor().track_operation("in the program"):
    pass
print("running", *sys.argv, __name__, flush=True)
sys.stdin.readline()
{end}
"""


@contextlib.contextmanager
def _serving(*arguments, **options):
    """Run ``nanospan serve`` until the block ends; yield the process and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nanospan", "serve", "--port", "0", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    with process:
        try:
            line = process.stderr.readline()
            url = re.fullmatch(r"nanospan: serving (http://127\.0\.0\.1:\d+/metrics)\n", line)
            assert url, line + process.stderr.read()
            yield process, url[1]
        finally:
            process.kill()


def _scrape(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


def _save(path, *operations):
    monitor = PerformanceMonitor()
    for operation in operations:
        monitor.record_metric(operation, 0.1)
    # Replace the file atomically, so that a scrape never reads half a file.
    fresh = path.with_suffix(".new")
    fresh.write_bytes(monitor.snapshot().to_bytes())
    fresh.replace(path)


def test_a_script_runs_with_the_endpoint_beside_it(tmp_path):
    """``--run`` runs a script as ``__main__`` with its arguments, and returns its exit status."""
    script = tmp_path / "script.py"
    script.write_text(PROGRAM.format(end="sys.exit(7)"))
    with _serving("--run", script, "--flag", "x") as (process, url):
        assert process.stdout.readline() == f"running {script} --flag x __main__\n"
        assert 'operation="in the program",outcome="ok"} 1\n' in _scrape(url)
        assert process.communicate("\n", timeout=60)[1] == ""
        assert process.returncode == 7


def test_a_module_in_the_current_folder_runs(tmp_path):
    """``--run -m`` runs a module from the current folder, and shows its uncaught exception."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__main__.py").write_text(
        PROGRAM.format(end="raise ValueError('sold out')")
    )
    with _serving("--run", "-m", "shop", "a", cwd=tmp_path) as (process, url):
        assert process.stdout.readline().endswith("__main__.py a __main__\n")
        assert "in the program" in _scrape(url)
        assert "ValueError: sold out" in process.communicate("\n", timeout=60)[1]
        assert process.returncode == 1


def test_ctrl_c_reaches_the_program(tmp_path):
    """A served program can handle KeyboardInterrupt as usual."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time\ntry:\n    print('up', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('tidied up')\n"
    )
    with _serving("--run", script) as (process, _):
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("tidied up\n", "")
        assert process.returncode == 0


def test_saved_snapshots_are_served_and_read_again(tmp_path):
    """Each scrape shows the snapshot files' current contents; Ctrl-C ends the server."""
    first, second = tmp_path / "nightly.snapshot", tmp_path / "weekly.snapshot"
    _save(first, "backup")
    _save(second, "report")
    with _serving(first, second) as (process, url):
        text = _scrape(url)
        assert (
            'duration_seconds_count{snapshot="nightly",operation="backup",outcome="ok"} 1' in text
        )
        assert 'duration_seconds_count{snapshot="weekly",operation="report",outcome="ok"} 1' in text
        assert 'nanospan_snapshot_timestamp_seconds{snapshot="weekly"} 1' in text
        _save(first, "backup", "verify")
        assert 'snapshot="nightly",operation="verify"' in _scrape(url)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "nanospan: interrupted\n"
        assert process.returncode == 130


def test_a_file_name_that_is_not_utf8_is_served(tmp_path):
    """A snapshot's file name that is not UTF-8 is escaped in its label."""
    path = tmp_path / os.fsdecode(b"caf\xe9.snapshot")
    _save(path, "backup")
    text = SavedExposition([path]).render().decode()
    assert r'snapshot="caf\\udce9",operation="backup"' in text


def test_a_file_that_is_damaged_or_gone_is_logged_once(tmp_path, caplog):
    """A damaged file's last contents are served; a missing file's metrics stop until it is back."""
    path = tmp_path / "nightly.snapshot"
    _save(path, "backup")
    exposition = SavedExposition([path])
    path.write_bytes(b"garbage")
    with caplog.at_level(logging.WARNING, "nanospan"):
        for _ in range(3):
            assert 'operation="backup"' in exposition.render().decode()
        path.unlink()
        for _ in range(3):
            assert "backup" not in exposition.render().decode()
        _save(path, "backup")
        assert 'operation="backup"' in exposition.render().decode()
    damaged, gone = caplog.messages
    assert damaged.startswith(f"{path}: snapshot: not a monitor snapshot")
    assert gone == f"{path} was deleted; its metrics are no longer served"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "specify either snapshot files, or --run followed by a program"),
        (["--run"], "specify either snapshot files"),
        (["x.snapshot", "--run", "y.py"], "specify either snapshot files"),
        (["--run", "absent.py"], "script not found: absent.py"),
        (["--run", "-m"], "-m requires the name of a module"),
        (["--run", "-m", "no.such.module"], "module not found: no.such.module"),
        (["absent.snapshot"], "absent.snapshot"),
        ([__file__], "not a monitor snapshot"),
        (["--port", "65536", "--run", __file__], "from 0 to 65535, got 65536"),
        (["--port", "many", "--run", __file__], "invalid int value: 'many'"),
    ],
)
def test_wrong_arguments_end_with_2(arguments, message, capsys):
    """A wrong argument is reported, with exit status 2, before anything is served."""
    with pytest.raises(SystemExit) as exit_:
        main(["serve", *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_two_files_with_the_same_name_are_rejected(tmp_path, capsys):
    """Snapshot files with equal stems are rejected, as their series would be indistinguishable."""
    paths = [tmp_path / name for name in ("a.one", "a.two")]
    for path in paths:
        _save(path, "op")
    with pytest.raises(SystemExit):
        main(["serve", *map(str, paths)])
    assert "snapshot files must have different names" in capsys.readouterr().err


def test_a_port_in_use_ends_with_1(tmp_path, capsys):
    """If the port is in use, the exit status is 1 and the error names the address."""
    path = tmp_path / "a.snapshot"
    _save(path, "op")
    with _serving(path) as (_, url):
        port = url.split(":")[2].split("/")[0]
        assert main(["serve", "--port", port, str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"nanospan: cannot listen on 127.0.0.1 port {port}: ")


def test_help_explains_both_uses(capsys):
    """``nanospan serve --help`` explains how to serve programs and snapshot files."""
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    output = capsys.readouterr().out
    for word in ("--run PROGRAM", "FILE", "--port", "9464", "127.0.0.1", "to_bytes()", "Ctrl-C"):
        assert word in output


def test_grafana_prints_a_dashboard(capsys):
    """``nanospan grafana`` prints JSON, in which all panels query the dashboard's data source."""
    assert main(["grafana"]) == 0
    dashboard = json.loads(capsys.readouterr().out)
    assert dashboard["title"] == "nanospan"
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    targets = [target for panel in panels for target in panel["targets"]]
    assert {target["datasource"]["uid"] for target in targets} == {"${datasource}"}


def test_grafana_prints_no_traceback_when_the_pipe_is_closed():
    """``nanospan grafana`` prints no traceback if its output pipe is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "nanospan", "grafana"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert "Traceback" not in done.stderr
