"""Tests that the compiled core's type stub matches the binary."""

import subprocess
import sys


def test_the_stub_describes_the_binary(tmp_path):
    """Stubtest from mypy finds no difference between _core.pyi and the built module."""
    # The stub's own statements are compared; analysing the modules it imports takes much longer.
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nfollow_imports = skip\n")
    finished = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "nanospan._core", "--mypy-config-file", config],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
