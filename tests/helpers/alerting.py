"""Helpers for the alert tests: make alerts, and wait for conditions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nanospan.alerts import Alert

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0
"""Maximum wait for a condition, in seconds; only a broken program exceeds it."""


def make_alert(**fields: Any) -> Alert:
    """Return a typical alert with the given fields replaced."""
    return Alert(
        **{
            "rule": "slow",
            "operation": "op",
            "state": "firing",
            "severity": "warning",
            "statistic": "p95",
            "value": 0.2,
            "limit": 0.1,
            "window": 60.0,
            "summary": "op is slow",
            "labels": {"team": "memory"},
            "since": 1_700_000_000.0,
            "fired_at": 1_700_000_000.0,
            "silenced": False,
            "instance": "host:1",
            **fields,
        }
    )


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true; fail the test if that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)
