"""Read untrusted JSON files, and validate them value by value."""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from nanospan._core import MAX_DURATION
from nanospan.values.data_files import DataFileError
from nanospan.values.json_stream import LONGEST_SHOWN, JsonParser, JsonText
from nanospan.values.units import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nanospan.values.data_files import DataFile


def read_json(file: DataFile) -> Node:
    """Read a JSON file and return its root value; lists of numbers become arrays of floats.

    Raises:
        OSError: If the file cannot be read.
        DataFileError: If the file is empty, not UTF-8 or longer than its limit; or its content is
            not valid JSON, is nested too deeply, would take too much memory, or contains an object
            with a duplicate key.
    """
    return parse_json(JsonText(file))


def parse_json(text: JsonText) -> Node:
    """Parse the text of a JSON file and return its root value; see :func:`read_json`."""
    if not text.peek():
        raise DataFileError(text.file.path, "", "the file is empty")
    return Node(text.file.path, "", JsonParser(text).parse())


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

    def items(self) -> Iterator[tuple[str, Node]]:
        """Yield the object's members as (key, node) pairs; raise if the value is not an object."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        for key, value in self.value.items():
            yield key, self._child(key, value)

    @property
    def is_list(self) -> bool:
        """Whether the value is a list, or the array that stands for a list of numbers."""
        return isinstance(self.value, (list, array))

    def elements(self) -> Iterator[Node]:
        """Yield the elements of the list as nodes; raise if the value is not a list."""
        if not self.is_list:
            self.fail("a list")
        for number, value in enumerate(self.value):
            yield Node(self.path, f"{self.place}[{number}]", value)

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
        if not self.is_list or not self.value:
            self.fail("a list of numbers")
        # Most lists are valid and long, so the first check avoids a loop in Python.
        if isinstance(self.value, array) and all(map(math.isfinite, self.value)):
            values: array[float] = self.value
            if not non_negative or min(values) >= 0:
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
    if isinstance(value, (list, array)):
        return f"a list of {len(value):,}"
    if isinstance(value, str):
        return f"a string of {len(value):,} characters"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    try:
        return str(value)[:40]
    except ValueError:  # an integer with more digits than Python is willing to print
        return "a huge number"
