"""Read untrusted JSON files with a size limit, and validate them value by value."""

from __future__ import annotations

import contextlib
import json
import math
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nanospan._core import MAX_DURATION
from nanospan.values.inputs import open_input
from nanospan.values.units import printable

if TYPE_CHECKING:
    import os

MAX_BYTES = 256 * 1024 * 1024
"""The size limit of data files in bytes; 10,000 operations with full windows take half of it."""

LONGEST_SHOWN = 80
"""The maximum number of characters of a key to show in an error message."""


class DataFileError(ValueError):
    """Raised when a file has invalid content.

    The message names the file, the location in the file, and what was expected and found there.

    Attributes:
        path: The file.
        place: The location in the file, such as ``operations.parse.samples[3]`` or ``line 7``;
            empty if the error concerns the whole file.
    """

    def __init__(self, path: str | os.PathLike[str], place: str, problem: str) -> None:
        self.path = Path(path)
        self.place = place
        super().__init__(": ".join(part for part in (str(path), place, problem) if part))


def read_text(path: Path, *, pipes: bool = False) -> str:
    """Read a UTF-8 text file; a pipe is read only if ``pipes`` is set.

    Raises:
        OSError: If the file cannot be read, or is not a regular file.
        DataFileError: If the file is longer than ``MAX_BYTES``, empty, or not UTF-8.
    """
    with open_input(path, pipes=pipes) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataFileError(path, "", f"the file must be at most {MAX_BYTES:,} bytes long")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise DataFileError(path, f"byte {exc.start}", "expected UTF-8 text") from None
    if not text.strip():
        raise DataFileError(path, "", "the file is empty")
    return text


def parse_json(path: Path, text: str) -> Node:
    """Parse the text of a JSON file and return its root value.

    ``path`` is used only in error messages.

    Raises:
        DataFileError: If the text is not valid JSON, is nested too deeply, or contains an object
            with a duplicate key.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object_without_duplicates)
    except json.JSONDecodeError as exc:
        hint = "; is the file complete?" if exc.pos >= len(text.rstrip()) else ""
        place = f"line {exc.lineno}, column {exc.colno}"
        raise DataFileError(path, place, f"expected JSON: {exc.msg}{hint}") from None
    except RecursionError:
        raise DataFileError(path, "", "the JSON is nested too deeply") from None
    except ValueError as exc:
        raise DataFileError(path, "", str(exc)) from None
    return Node(path, "", value)


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = printable(counts.most_common(1)[0][0][:LONGEST_SHOWN])
        raise ValueError(f"expected unique keys in each object, found {twice!r} more than once")
    return found


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a JSON file, with its location for error messages.

    A method that returns the value as a particular type raises ``DataFileError`` if the value has
    a different type.
    """

    path: Path
    place: str
    value: Any

    def fail(self, expected: str) -> NoReturn:
        """Raise a ``DataFileError`` that states what was expected and what this value is."""
        raise DataFileError(
            self.path, self.place, f"expected {expected}, found {_found(self.value)}"
        )

    def has(self, key: str) -> bool:
        """Return whether the value is an object that contains ``key``."""
        return isinstance(self.value, dict) and key in self.value

    def __getitem__(self, key: str) -> Node:
        if not isinstance(self.value, dict):
            self.fail(f"an object with the key {key!r}")
        if key not in self.value:
            raise DataFileError(self.path, self.place, f"the key {key!r} is missing")
        return self._child(key, self.value[key])

    def _child(self, key: str, value: Any) -> Node:
        name = printable(key[:LONGEST_SHOWN])
        return Node(self.path, f"{self.place}.{name}" if self.place else name, value)

    def items(self) -> list[tuple[str, Node]]:
        """Return the object's members as (key, node) pairs; raise if the value is not an object."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        return [(key, self._child(key, value)) for key, value in self.value.items()]

    def elements(self) -> list[Node]:
        """Return the elements of the list as nodes; raise if the value is not a list."""
        if not isinstance(self.value, list):
            self.fail("a list")
        return [
            Node(self.path, f"{self.place}[{number}]", value)
            for number, value in enumerate(self.value)
        ]

    def text(self) -> str:
        """Return the value as a str; raise if it is not a string."""
        if not isinstance(self.value, str):
            self.fail("a string")
        return self.value

    def whole_number(self) -> int:
        """Return the value as an int; raise if it is not a whole number."""
        if type(self.value) is not int:
            self.fail("a whole number")
        return self.value

    def number(self) -> float:
        """Return the value as a float; raise if it is not a finite number."""
        if type(self.value) not in (int, float) or not _is_finite(self.value):
            self.fail("a finite number")
        return float(self.value)

    def duration(self) -> float:
        """Return the value as a duration in seconds; raise if it is not from 0 to 584 years."""
        if not 0 <= (number := self.number()) <= MAX_DURATION:
            self.fail(f"a number of seconds from 0 to {MAX_DURATION} (584 years)")
        return number

    def durations(self) -> array[float]:
        """Return the value, a list of durations in seconds, as an array of floats.

        Raises:
            DataFileError: If the value is not a non-empty list of numbers from 0 to 584 years.
        """
        values = self.numbers(non_negative=False)
        if min(values) < 0 or max(values) > MAX_DURATION:
            for element in self.elements():
                element.duration()
        return values

    def numbers(self, *, non_negative: bool) -> array[float]:
        """Return the value, a list of numbers, as an array of floats.

        Raises:
            DataFileError: If the value is not a non-empty list of finite numbers, or a number is
                negative and ``non_negative`` is True.
        """
        if not isinstance(self.value, list) or not self.value:
            self.fail("a list of numbers")
        # Most lists are valid and long, so the first check avoids a loop in Python.
        if set(map(type, self.value)) <= {int, float}:
            with contextlib.suppress(OverflowError):
                values = array("d", self.value)
                if all(map(math.isfinite, values)) and (not non_negative or min(values) >= 0):
                    return values
        for element in self.elements():
            if element.number() < 0 and non_negative:
                element.fail("a number of seconds, zero or more")
        raise AssertionError("unreachable: one of the elements is invalid")


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond the range of a float
        return False


def _found(value: Any) -> str:
    """Describe a value for an error message, without quoting strings, which may be confidential."""
    if isinstance(value, dict):
        return f"an object with {len(value):,} members"
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, str):
        return f"a string of {len(value):,} characters"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    try:
        return str(value)[:40]
    except ValueError:  # an integer with more digits than Python is willing to print
        return "a huge number"
