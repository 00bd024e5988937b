"""Tests that every part names the command that installs a package it misses."""

from __future__ import annotations

import subprocess
import sys

from nanospan.values.extras import needs

PARTS = [
    ("psycopg", "import nanospan.pool", "nanospan.pool needs psycopg: {pool}"),
    ("psycopg_pool", "import nanospan.pool.config", "nanospan.pool needs psycopg_pool: {pool}"),
    ("pgvector", "import nanospan.pool", "nanospan.pool needs pgvector: {pool}"),
    (
        "pgvector",
        "import nanospan.compat.memfuse.global_connection_manager",
        "nanospan.pool needs pgvector: {pool}",
    ),
    ("opentelemetry", "import nanospan.export.otlp", "OTLP export needs opentelemetry: {otlp}"),
    (
        "prometheus_client",
        "from nanospan.export.prometheus import NanospanCollector",
        "NanospanCollector needs prometheus-client: {prometheus}",
    ),
    (
        "pyarrow",
        "from nanospan.export.write import write; write(monitor, 'x.parquet')",
        "Parquet needs pyarrow: {arrow}",
    ),
    ("matplotlib", "monitor.plot('op')", "plotting needs matplotlib: {plot}"),
    (
        "httpx",
        "from nanospan.alerts import WebhookSink; WebhookSink('https://localhost/')",
        "this sink needs httpx: {alerts}",
    ),
]
CODE = f"""
import nanospan, sys
monitor = nanospan.get_performance_monitor()
monitor.record_metric("op", 1.0)
core = set(sys.modules)
for package, statement, _ in {PARTS!r}:
    for name in set(sys.modules) - core:
        if name.startswith("nanospan."):
            del sys.modules[name]
    sys.modules[package] = None
    try:
        exec(statement)
    except ImportError as error:
        print(error)
    del sys.modules[package]
"""


def test_missing_packages() -> None:
    """The error for a missing package says what needs it, and the pip command."""
    command = [sys.executable, "-c", CODE]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    extras = ("pool", "otlp", "prometheus", "arrow", "plot", "alerts")
    commands = {extra: f"pip install 'nanospan[{extra}]'" for extra in extras}
    assert ran.stdout.splitlines() == [message.format(**commands) for *_, message in PARTS]


def test_sentence() -> None:
    """The sentence names the packages and the extra."""
    assert needs("rich", "demo") == "needs rich: pip install 'nanospan[demo]'"
