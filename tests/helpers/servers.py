"""Helpers that find, start and stop real servers on the loopback interface."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOOL = Path(__file__).parents[2] / "tools" / "servers"
STARTING = 60.0  # seconds; allows for a heavily loaded machine
STOPPING = 20.0


def server_path(name: str) -> str:
    """Return the path of the program ``name``, as installed by ``tools/servers``.

    If the program is not installed, skip the test, or fail it if the environment has ``CI=true``.
    """
    found = subprocess.run([TOOL, "--present", name], capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return found.stdout.strip()
    if os.environ.get("CI") == "true":
        pytest.fail(found.stderr.strip())
    pytest.skip(found.stderr.strip())


def free_port() -> int:
    """Return a currently free TCP port on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], url: str, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` until the block ends; enter the block once ``url`` answers.

    The program's output goes to the file ``log``; if it does not start, the error shows the end of
    that file.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + STARTING
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                state = "has not answered" if process.returncode is None else "has ended"
                pytest.fail(f"{command[0]} {state}:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (OSError, urllib.error.HTTPError):
        return False


def fetch(url, method="GET", **headers):
    """Send an HTTP request and return the response's status, headers and body."""
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.status, error.headers, error.read()
