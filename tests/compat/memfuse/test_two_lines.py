"""Tests that the two lines that docs/migrating.md shows put a stand-in in a module's place."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock, patch

import pytest

from nanospan.compat.memfuse import global_connection_manager, performance_monitor

if TYPE_CHECKING:
    from nanospan.compat.memfuse.global_connection_manager import GlobalConnectionManager

PAGE = Path(__file__).parents[3] / "docs" / "migrating.md"
FILES = ("monitoring/performance_monitor.py", "services/global_connection_manager.py")
URL = "postgresql://me@localhost/memory"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Create a package whose two modules are the page's two lines each; return its name."""
    shown = re.findall(
        r"```\n(import sys, nanospan\S+\nsys\.modules\S+ = \S+\n)```", PAGE.read_text()
    )
    for path, lines in zip(FILES, shown, strict=True):
        file = tmp_path / "old_memfuse" / path
        file.parent.mkdir(parents=True)
        file.write_text(lines)
        assert len(lines.splitlines()) == 2
    monkeypatch.syspath_prepend(tmp_path)
    for name in list(sys.modules):
        if name.startswith("old_memfuse"):
            monkeypatch.delitem(sys.modules, name)
    return "old_memfuse"


def test_modules(old: str) -> None:
    """Importing the old names gives the modules of this package."""
    monitor = importlib.import_module(f"{old}.monitoring.performance_monitor")
    manager = importlib.import_module(f"{old}.services.global_connection_manager")
    assert monitor is performance_monitor
    assert manager is global_connection_manager


def test_patching(old: str, manager: GlobalConnectionManager) -> None:
    """A test that patches the old module replaces the class that the manager uses."""
    with patch(f"{old}.services.global_connection_manager.AsyncConnectionPool") as pool_class:
        pool_class.return_value = AsyncMock(closed=False)
        found = asyncio.run(manager.get_connection_pool(URL))
        assert found is pool_class.return_value
        assert pool_class.call_count == 1
        assert len(manager._pools) == 1
