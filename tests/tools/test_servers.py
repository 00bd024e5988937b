"""Tests for ``tools/servers``, and for the helper that runs the programs it installs."""

import subprocess
import urllib.request

import pytest
from servers import TOOL, free_port, running, server_path


def test_a_present_program_is_found():
    """The tool prints the path of an installed program, and that path can be run."""
    answer = subprocess.run([server_path("promtool"), "--version"], capture_output=True, check=True)
    assert b"promtool, version" in answer.stdout + answer.stderr


@pytest.mark.parametrize("arguments", [["--present", "fortune"], ["--wrong"]])
def test_unknown_programs_are_rejected(arguments):
    """The error for an unknown program lists the known programs."""
    answer = subprocess.run([TOOL, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "prometheus-alertmanager" in answer.stderr


def test_a_missing_program_skips_here_and_fails_in_ci(monkeypatch, tmp_path):
    """A test whose server is not installed is skipped, or fails if ``CI=true``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="not installed: victoria-metrics"):
        server_path("victoria-metrics")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="not installed: victoria-metrics"):
        server_path("victoria-metrics")
    assert not list(tmp_path.iterdir())


def test_a_server_runs_until_the_block_ends(tmp_path):
    """The block starts once the server answers; the server has ended when the block is left."""
    port = free_port()
    command = ["python3", "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    url = f"http://127.0.0.1:{port}/"
    with running(command, url, tmp_path / "log") as process:
        assert urllib.request.urlopen(url).status == 200
    assert process.returncode is not None


def test_a_server_that_ends_early_fails_the_test_with_its_output(tmp_path):
    """If a server ends early, the test fails with the server's output in the message."""
    command = ["sh", "-c", "echo no such luck; exit 3"]
    with (
        pytest.raises(pytest.fail.Exception, match="no such luck"),
        running(command, "http://127.0.0.1:9/", tmp_path / "log"),
    ):
        pass
