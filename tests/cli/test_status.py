"""Tests for the status line of long-running work, and the effect of Ctrl-C on such work."""

import io
import signal
import subprocess
import sys
import time

import pytest

from nanospan.cli.status import Status, run_with_status


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _until_shown(stream: io.StringIO) -> str:
    """Wait until the status line has been shown; return the result of the simulated work."""
    limit = time.monotonic() + 60
    while "working, " not in stream.getvalue() and time.monotonic() < limit:
        time.sleep(0.01)
    return "done"


def test_short_work_is_silent(capsys):
    """Work that ends soon prints nothing and returns its result."""
    assert run_with_status("working", lambda: 7) == 7
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("stream", "begin", "end"),
    [
        (io.StringIO, "nanospan: working, 0 s so far\n", "so far\n"),
        (_Terminal, "\r\x1b[Kworking, 0 s so far", "so far\r\x1b[K"),
    ],
)
def test_long_work_shows_its_status(monkeypatch, stream, begin, end):
    """Long work shows a status line, which is removed at the end if on a terminal."""
    monkeypatch.setattr(Status, "FIRST", 0.0)
    monkeypatch.setattr("sys.stderr", shown := stream())
    assert run_with_status("working", lambda: _until_shown(shown)) == "done"
    assert shown.getvalue().startswith(begin)
    assert shown.getvalue().endswith(end)


def test_an_exception_of_the_work_is_raised():
    """An exception raised by the work propagates to the caller."""
    with pytest.raises(ZeroDivisionError):
        run_with_status("working", lambda: 1 // 0)


def test_ctrl_c_interrupts_a_native_call():
    """Ctrl-C interrupts work that is blocked in a native call."""
    program = (
        "import ctypes\n"
        "from nanospan.cli.status import Status, run_with_status\n"
        "Status.FIRST = 0.0\n"
        "run_with_status('working', lambda: ctypes.CDLL(None).sleep(3600))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.stderr.readline().startswith(b"nanospan: working")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in errors
