"""Tests that the programs in docs/pools.md print the output shown on the page."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
from psycopg_pool import (
    AsyncConnectionPool,
    AsyncNullConnectionPool,
    ConnectionPool,
    NullConnectionPool,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pools.md"
SHOWN = re.findall(
    r"```python\n((?:(?!```).)*)```\n\n[^\n]*:\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL
)


def without_circumstances(printed: str) -> str:
    """Mask the folders, ports and durations in the output, because they differ between runs."""
    printed = re.sub(r"\S*dry\.py", "dry.py", printed)
    return re.sub(r":\d{4,5}/|\d+\.\d+ s(?= by|$)", "#", printed, flags=re.MULTILINE)


@pytest.mark.parametrize(("code", "shown"), SHOWN, ids=["warm pool", "exhausted pool"])
def test_programs_print_what_the_page_shows(code: str, shown: str, tmp_path: Path) -> None:
    """Each program on the page prints exactly the output shown after it."""
    program = tmp_path / "dry.py"
    program.write_text(code)
    command = [sys.executable, "-W", "error", program]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert without_circumstances(finished.stdout) == without_circumstances(shown)
    assert finished.stderr == ""


def test_the_page_lists_psycopg_pool_whole() -> None:
    """The tables for psycopg_pool's users have each argument and each public name of its pools."""
    section = PAGE.read_text().partition("## Coming from psycopg_pool")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = set(re.findall(r"`(\w+)`", " ".join(rows)))
    pools = (AsyncConnectionPool, ConnectionPool, AsyncNullConnectionPool, NullConnectionPool)
    arguments = {name for pool in pools for name in signature(pool).parameters}
    public = {name for pool in pools for name in dir(pool) if not name.startswith("_")}
    assert arguments | public == listed - {"with", "async"}
