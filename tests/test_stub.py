"""Tests that the compiled core's type stub matches the binary."""

import subprocess
import sys


def test_the_stub_describes_the_binary():
    """Stubtest from mypy finds no difference between _core.pyi and the built module."""
    finished = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "nanospan._core"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
