"""Turn an input into what a target needs: a file, a text or values of JSON."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

SECRET = "s3cr3t"  # noqa: S105 - no password, but the mark by which targets find one
"""A text that inputs have in place of a password, so that a target can tell where it appears."""

LONGEST_LINE = 2_000
"""The maximum number of characters in a line of an error message."""


class InvalidInput(Exception):  # noqa: N818 - nothing is wrong with the code under test
    """Raised for an input that a target cannot use."""


def as_file(data: bytes, name: str = "input") -> Path:
    """Write an input to a file, which the next call with the same name overwrites."""
    path = Path(tempfile.gettempdir()) / f"nanospan-fuzz-{os.getpid()}-{name}"
    path.write_bytes(data)
    return path


def as_text(data: bytes) -> str:
    """Decode an input as UTF-8; invalid bytes become lone surrogates, which a name may contain."""
    return data.decode("utf-8", "surrogateescape")


def as_lines(data: bytes, count: int) -> list[str]:
    """Decode an input as ``count`` lines, of which the last ones may be empty."""
    lines = as_text(data).split("\n", count - 1)
    return lines + [""] * (count - len(lines))


def as_json(data: bytes) -> Any:
    """Parse an input as JSON.

    Raises:
        InvalidInput: If it is not valid JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidInput from None


def as_object(data: bytes) -> dict[str, Any]:
    """Parse an input as a JSON object.

    Raises:
        InvalidInput: If it is not a JSON object.
    """
    value = as_json(data)
    if not isinstance(value, dict):
        raise InvalidInput
    return value


def check_message(error: BaseException) -> None:
    """Check that an error's message can be printed, and has no endless lines."""
    message = str(error)
    for line in message.split("\n"):
        assert len(line) <= LONGEST_LINE, f"a line of {len(line):,} characters: {line[:200]}"
