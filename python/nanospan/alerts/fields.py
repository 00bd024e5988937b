"""Fields of rules, sinks and silences: what they may hold, and the error where they do not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches

__all__ = [
    "RuleError",
    "check_choice",
    "check_count",
    "check_labels",
    "check_number",
    "check_seconds",
    "check_text",
]

# Labels that every alert has: a rule's own must not stand for something else.
RESERVED_LABELS = frozenset({"alertname", "operation", "severity"})
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class RuleError(ValueError):
    """A field of a rule, sink or silence has a value it cannot have.

    Attributes:
        field: The field's name.
        value: Its value; a secret is replaced by a fixed text.
    """

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(f"{name} = {value!r}: {expected}")
        self.field = name
        self.value = value
        self.expected = expected


def check_text(name: str, value: object) -> str:
    """Return a non-empty string, or raise `RuleError`."""
    if not isinstance(value, str) or not value.strip():
        raise RuleError(name, value, "must be a non-empty string")
    return value


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Return one of some strings, or raise `RuleError` with the closest."""
    if not isinstance(value, str) or value not in choices:
        close = get_close_matches(value, choices, n=1) if isinstance(value, str) else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise RuleError(name, value, f"must be one of {', '.join(choices)}{hint}")
    return value


def check_number(name: str, value: object) -> float:
    """Return a finite number, or raise `RuleError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RuleError(name, value, "must be a finite number")
    return float(value)


def check_count(name: str, value: object) -> int:
    """Return an integer of at least 1, or raise `RuleError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RuleError(name, value, "must be an integer of at least 1")
    return value


def check_seconds(name: str, value: object, *, minimum: float, maximum: float = math.inf) -> float:
    """Return a number of seconds in a range, or raise `RuleError`."""
    seconds = check_number(name, value)
    if seconds < minimum:
        raise RuleError(name, value, f"must be at least {minimum:g} seconds")
    if seconds > maximum:
        raise RuleError(name, value, f"must be at most {maximum:g} seconds")
    return seconds


def check_labels(name: str, value: object) -> dict[str, str]:
    """Return a copy of the labels, or raise `RuleError`."""
    if not isinstance(value, Mapping):
        raise RuleError(name, value, "must be a table of strings")
    for key, text in value.items():
        if not isinstance(key, str) or not _LABEL_NAME.fullmatch(key):
            raise RuleError(name, key, "a label's name has letters, digits and _ only")
        if key in RESERVED_LABELS:
            raise RuleError(name, key, "every alert has this label of its own")
        if not isinstance(text, str):
            raise RuleError(name, text, f"the label {key} must be a string")
    return dict(value)
