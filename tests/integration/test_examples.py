"""Tests that the programs in examples/ run and expose their metrics."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from servers import free_port, running

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def service(tmp_path):
    """Start the notes service; yield its URL and its process."""
    port = free_port()
    command = ["env", f"PORT={port}", sys.executable, EXAMPLES / "notes_service.py"]
    url = f"http://127.0.0.1:{port}"
    with running(command, f"{url}/metrics", tmp_path / "service.log") as process:
        yield url, process


def fetch(url, **sent):
    """Send a GET, or a POST with ``sent`` as JSON; return the response's status and body."""
    data = json.dumps(sent).encode() if sent else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_notes_service_counts_requests_and_operations(service):
    """/metrics counts requests and operations per outcome, and does not count scrapes."""
    url, process = service
    for text in ("tea at noon", "coffee at one"):
        assert fetch(f"{url}/notes", text=text)[0] == 201
    assert fetch(f"{url}/notes/0") == (200, '"tea at noon"')
    assert fetch(f"{url}/notes/2")[0] == 404
    assert fetch(f"{url}/notes/x")[0] == 422
    assert fetch(f"{url}/notes") == (200, '"tea at noon"\n"coffee at one"\n')
    assert fetch(f"{url}/search?text=tea") == (200, '["tea at noon"]')
    assert fetch(f"{url}/nowhere")[0] == 404
    status, text = fetch(f"{url}/metrics")
    assert status == 200
    counts = {
        (sample.labels["operation"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "nanospan_operation_duration_seconds_count" and sample.value
    }
    assert counts == {
        ("POST /notes", "ok"): 2,
        ("note_store", "ok"): 2,
        ("GET /notes/{number}", "ok"): 3,
        ("GET /notes", "ok"): 1,
        ("GET /search", "ok"): 1,
        ("note_search", "ok"): 1,
        ("GET (unmatched)", "ok"): 1,
    }
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def test_the_notes_service_needs_no_opentelemetry():
    """The notes service does not import OpenTelemetry if no collector is configured."""
    code = "import notes_service, sys; print('opentelemetry.sdk' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=EXAMPLES,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "False\n"
