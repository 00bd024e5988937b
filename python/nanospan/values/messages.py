"""Shorten the values that error messages, warnings and log records quote."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_SHOWN = 200
"""The maximum number of characters of a value to show in a message."""

MOST_BITS = 1024
"""The size from which an integer is described; a float holds smaller ones only.

Python refuses to print integers of more than some thousand digits.
"""


def shown(value: object) -> str:
    """Return ``repr(value)``, or the start of it and the value's size if it is long.

    A message must not be as large as the value that it quotes, and must not fail because the
    value's ``repr`` does.
    """
    try:
        text = _represent(value, LONGEST_SHOWN)
    except Exception:  # noqa: BLE001 - the repr is the user's code
        return f"<{type(value).__name__} without a repr>"
    if len(text) <= LONGEST_SHOWN + len("''"):
        return text
    return f"{text[:LONGEST_SHOWN]}... ({_size(value) or 'shortened'})"


def shorten(text: object) -> str:
    """Return ``str(text)``, or the start and the length of it if it is long."""
    whole = str(text)
    if len(whole) <= LONGEST_SHOWN:
        return whole
    return f"{whole[:LONGEST_SHOWN]}... ({_size(whole)})"


def describe(error: OSError, default: str = "") -> str:
    """Describe an error of the operating system as ``FILE: what failed``.

    Args:
        error: The error.
        default: What failed, if the error names no file.
    """
    file = default if error.filename is None else shorten(error.filename)
    return ": ".join(part for part in (file, error.strerror or shorten(error)) if part)


def _size(value: object) -> str:
    if isinstance(value, str):
        return f"{len(value):,} characters"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value):,} bytes"
    if isinstance(value, (dict, list, tuple)):
        return f"{len(value):,} items"
    return ""


def _represent(value: object, room: int) -> str:
    """Return ``repr(value)``, or more than ``room`` characters from the start of it.

    The time this takes depends on ``room``, and not on the size of a list, dict or string.
    """
    if room < 0:  # nested so deeply that the brackets fill the room
        return "..."
    kind = type(value)
    if isinstance(value, (str, bytes)) and kind in {str, bytes}:
        # The closing quote must not follow a string that goes on.
        return repr(value) if len(value) <= room else repr(value[: room + 2])[:-1]
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return f"<{kind.__name__} of {value.bit_length():,} bits>"
    if isinstance(value, (list, tuple)) and kind in {list, tuple}:
        start, end = "[]" if kind is list else "()"
        end = ",)" if kind is tuple and len(value) == 1 else end
        return _joined(start, (_represent(item, room - 1) for item in value), end, room)
    if isinstance(value, dict) and kind is dict:
        items = (f"{_represent(k, room - 1)}: {_represent(v, room - 1)}" for k, v in value.items())
        return _joined("{", items, "}", room)
    return repr(value)


def _joined(start: str, items: Iterator[str], end: str, room: int) -> str:
    text = start
    for number, item in enumerate(items):
        text += f", {item}" if number else item
        if len(text) > room:
            return text
    return text + end
