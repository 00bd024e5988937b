"""Tests that every public call of the pools may be made amid every other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import reentry

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is not available")
def test_every_call_may_be_made_amid_every_other(database: str, tmp_path: Path) -> None:
    """No call of the pools and their managers hangs or fails, whatever it interrupts.

    Each is made in a signal handler, a collection and a finaliser that interrupt each, and in a
    child that is forked meanwhile.
    """
    results = reentry.run_program("pool_calls.py", tmp_path / "progress", database)
    assert results["problems"] == []
    assert {"SyncVectorPool.getconn", "SyncConnectionManager.lease"} < set(results["calls"])
    assert min(results["lines"], results["forks"]) > 50
