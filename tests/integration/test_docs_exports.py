"""Tests that the code on the pages about OTLP and ASGI prints the output shown there."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import free_port, running, server_path

ROOT = Path(__file__).parents[2]
OPENTELEMETRY = (ROOT / "docs" / "opentelemetry.md").read_text()
ASGI = (ROOT / "docs" / "asgi.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", OPENTELEMETRY + ASGI, re.DOTALL)


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_programs_print_the_output_shown(code, output):
    """Each program on the page prints the text block shown after it."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"OTEL_METRICS_EXPORTER": "none"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == output


def session(page):
    """Return the commands in a page's console block, and the output shown after each command."""
    [block] = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    commands = re.findall(r"^\$ (.*(?:\n    .*)*)", block, re.MULTILINE)
    output = re.sub(r"^\$ .*(?:\n    .*)*\n", "", block, flags=re.MULTILINE)
    # The test itself starts the server, so that it can wait for the server and stop it.
    return [command for command in commands if not command.endswith("&")], output


def run(commands, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-e", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def test_the_commands_for_victoria_metrics_work(tmp_path):
    """The VictoriaMetrics commands print the output shown on the page, apart from times."""
    (tmp_path / "service.py").write_text(EXAMPLES[0][0])
    commands, shown = session(OPENTELEMETRY)
    port = free_port()
    commands = [command.replace(":8428", f":{port}") for command in commands]
    server = [server_path("victoria-metrics"), f"-httpListenAddr=127.0.0.1:{port}"]
    server += [f"-storageDataPath={tmp_path / 'data'}"]
    with running(server, f"http://127.0.0.1:{port}/health", tmp_path / "log"):
        printed = run(commands, tmp_path)
        deadline = time.monotonic() + 60
        while '"result":[]' in printed and time.monotonic() < deadline:  # allows for a slow machine
            printed = shown.splitlines(keepends=True)[0] + run(commands[-1:], tmp_path)
    varying = r'\[\d{10}(?:\.\d+)?,|"executionTimeMsec":\d+|"seriesFetched": "\d+"'
    assert re.sub(varying, "", printed).strip() == re.sub(varying, "", shown).strip()


def test_the_example_service_answers_as_the_page_shows(tmp_path):
    """The example service's commands print the output shown on the page."""
    commands, shown = session(ASGI)
    port = free_port()
    commands = [command.replace(":8000", f":{port}") for command in commands]
    server = ["env", f"PORT={port}", sys.executable, ROOT / "examples" / "notes_service.py"]
    with running(server, f"http://127.0.0.1:{port}/metrics", tmp_path / "log"):
        assert run(commands, tmp_path) == shown
