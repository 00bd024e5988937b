"""Validate the fields of alert rules, sinks and silences."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches

from nanospan.values.messages import shorten, shown

__all__ = [
    "RuleError",
    "check_choice",
    "check_count",
    "check_labels",
    "check_number",
    "check_pattern",
    "check_seconds",
    "check_text",
]

# Every alert already has these labels, so a rule must not redefine them.
RESERVED_LABELS = frozenset({"alertname", "operation", "severity"})

LARGEST_COUNT = 10**9
"""The largest number of samples or attempts; more would never be reached."""

LONGEST_PATTERN = 1000
"""The maximum length of a pattern in characters; the time to match can grow with its square."""

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class RuleError(ValueError):
    """A field of an alert rule, sink or silence has an invalid value.

    Attributes:
        field: The field's name.
        value: The invalid value, or ``***`` in place of a secret.
        expected: The requirement that the value violates, such as ``must be a finite number``.
    """

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(f"{shorten(name)} = {shown(value)}: {expected}")
        self.field = name
        self.value = value
        self.expected = expected


def check_text(name: str, value: object) -> str:
    """Return ``value``; raise RuleError unless it is a non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise RuleError(name, value, "must be a non-empty string")
    return value


def check_pattern(name: str, value: object) -> str:
    """Return ``value``; raise RuleError unless it is a non-empty string that is not too long."""
    pattern = check_text(name, value)
    if len(pattern) > LONGEST_PATTERN:
        raise RuleError(name, value, f"must be at most {LONGEST_PATTERN:,} characters long")
    return pattern


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is in ``choices``; else raise RuleError, suggesting a close match."""
    if not isinstance(value, str) or value not in choices:
        close = get_close_matches(value[:100], choices, n=1) if isinstance(value, str) else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise RuleError(name, value, f"must be one of {', '.join(choices)}{hint}")
    return value


def check_number(name: str, value: object) -> float:
    """Return ``value`` as a float; raise RuleError unless it is a finite number."""
    if not isinstance(value, bool) and isinstance(value, (int, float)):
        with contextlib.suppress(OverflowError):  # an integer beyond the range of a float
            if math.isfinite(value):
                return float(value)
    raise RuleError(name, value, "must be a finite number")


def check_count(name: str, value: object) -> int:
    """Return ``value``; raise RuleError unless it is an integer from 1 to ``LARGEST_COUNT``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RuleError(name, value, "must be an integer of at least 1")
    if value > LARGEST_COUNT:
        raise RuleError(name, value, f"must be at most {LARGEST_COUNT:,}")
    return value


def check_seconds(name: str, value: object, *, minimum: float, maximum: float = math.inf) -> float:
    """Return ``value`` as a float.

    Raises:
        RuleError: If it is not a number from ``minimum`` to ``maximum``.
    """
    seconds = check_number(name, value)
    if seconds < minimum:
        raise RuleError(name, value, f"must be at least {minimum:g} seconds")
    if seconds > maximum:
        raise RuleError(name, value, f"must be at most {maximum:g} seconds")
    return seconds


def check_labels(name: str, value: object) -> dict[str, str]:
    """Return a copy of ``value``; raise RuleError unless it maps valid label names to strings."""
    if not isinstance(value, Mapping):
        raise RuleError(name, value, "must map strings to strings")
    for key, text in value.items():
        if not isinstance(key, str) or not _LABEL_NAME.fullmatch(key):
            message = (
                "a label name must consist of letters, digits and _, and not start with a digit"
            )
            raise RuleError(name, key, message)
        if key in RESERVED_LABELS:
            message = "must not be a reserved label; every alert already has this label"
            raise RuleError(name, key, message)
        if not isinstance(text, str):
            raise RuleError(name, text, f"the value of the label {shorten(key)} must be a string")
    return dict(value)
