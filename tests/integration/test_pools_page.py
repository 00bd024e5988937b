"""Tests that the programs in docs/pools.md print the output shown on the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
