"""Work that may take long: what is shown meanwhile, and what Ctrl-C does."""

import io
import signal
import subprocess
import sys
import time

import pytest

from nanospan.cli.status import Status, patiently


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _until_shown(stream: io.StringIO) -> str:
    """Work that ends when its state was shown."""
    limit = time.monotonic() + 60
    while "working, " not in stream.getvalue() and time.monotonic() < limit:
        time.sleep(0.01)
    return "done"


def test_short_work_is_silent(capsys):
    """What is over soon returns its result, and says nothing."""
    assert patiently("working", lambda: 7) == 7
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("stream", "begin", "end"),
    [
        (io.StringIO, "nanospan: working, 0 s so far\n", "so far\n"),
        (_Terminal, "\r\x1b[Kworking, 0 s so far", "so far\r\x1b[K"),
    ],
)
def test_long_work_shows_that_it_goes_on(monkeypatch, stream, begin, end):
    """A log gets a line; the line on a terminal is gone at the end."""
    monkeypatch.setattr(Status, "FIRST", 0.0)
    monkeypatch.setattr("sys.stderr", shown := stream())
    assert patiently("working", lambda: _until_shown(shown)) == "done"
    assert shown.getvalue().startswith(begin)
    assert shown.getvalue().endswith(end)


def test_what_it_raises_is_raised():
    """An exception of the work is one of the call."""
    with pytest.raises(ZeroDivisionError):
        patiently("working", lambda: 1 // 0)


def test_ctrl_c_is_heard_during_a_native_call():
    """A call that does not return for an hour is left at once."""
    program = (
        "import ctypes\n"
        "from nanospan.cli.status import Status, patiently\n"
        "Status.FIRST = 0.0\n"
        "patiently('working', lambda: ctypes.CDLL(None).sleep(3600))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.stderr.readline().startswith(b"nanospan: working")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in errors
