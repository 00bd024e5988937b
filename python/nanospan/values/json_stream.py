"""Parse JSON files piece by piece, with lists of numbers as arrays of floats.

The standard library decodes scalars and runs of numbers. The structure around them is parsed here,
because ``json.load`` needs the whole text in memory, and creates an object for each number.
"""

from __future__ import annotations

import json
import re
import sys
from array import array
from typing import TYPE_CHECKING, Any, NoReturn

from nanospan.values.data_files import CHUNK, REMEDY, DataFile, DataFileError
from nanospan.values.units import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_SHOWN = 80
"""The maximum number of characters of a key to show in an error message."""

MAX_DEPTH = 100
"""The maximum depth of nested lists and objects."""

ARRAY_SLOT = 8
"""The memory of a number in an array, in bytes."""

LIST_SLOT = 24
"""The memory of an element's place in a list, and what an object takes beyond its size, in bytes.

Lists grow by an eighth, and while they do, both the old and the new one may exist.
"""

DICT_SLOT = 104
"""The memory of a member's place in a dict, in bytes, right after the dict has grown."""

MOST_SHARED_KEYS = 1000
"""The number of different keys to keep so that objects with the same keys share them."""

# A run of numbers: digits, and the letters of exponents, NaN and Infinity.
_NUMBERS = re.compile(r"[-0-9NI][-+.0-9eENaInfity, \t\n]*")
# What a number may go on with: after "1" or "1.5e", digits may be all that is missing.
_REST = re.compile(r"[-+.\w]*")
_SPACE = re.compile(r"[ \t\n]*")


class JsonText:
    """The text of a file, of which only the part that is being parsed is in memory."""

    def __init__(self, file: DataFile) -> None:
        self.file = file
        self.text = ""
        self.at = 0  # where the unparsed text begins
        self._line, self._column = 1, 1  # the place of text[0]
        self._chunks: Iterator[str] | None = file.text()

    def more(self) -> bool:
        """Drop the parsed text and read more; return False at the end of the file."""
        if self._chunks is None:
            return False
        self._line, self._column = self._place(self.at)
        # Doubled, so that searching again from the start of a long token is not quadratic.
        parts = [self.text[self.at :]]
        wanted = 2 * len(parts[0])
        self.text, self.at = "", 0
        length = len(parts[0])
        while chunk := next(self._chunks, None):
            parts.append(chunk)
            length += len(chunk)
            if length >= wanted:
                break
        self.text = "".join(parts)
        if chunk is None:
            self._chunks = None
        return True

    def peek(self) -> str:
        """Skip white space and return the next character; empty at the end of the file."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = self.at if match is None else match.end()
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the number and the text of each remaining line."""
        number, rest = self._place(self.at)[0], ""
        while True:
            *lines, rest = (rest + self.text[self.at :]).split("\n")
            for line in lines:
                yield number, line
                number += 1
            self.at = len(self.text)
            if len(rest) > self.file.longest_text:
                problem = f"a line must be at most {self.file.longest_text:,} characters long"
                raise DataFileError(self.file.path, f"line {number}", f"{problem}; {REMEDY}")
            if not self.more():
                yield number, rest
                return

    def _place(self, at: int) -> tuple[int, int]:
        breaks = self.text.count("\n", 0, at)
        column = at - self.text.rindex("\n", 0, at) if breaks else self._column + at
        return self._line + breaks, column

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        """Raise a DataFileError about invalid JSON at a position in the text."""
        self.at = self.at if at is None else at
        line, column = self._place(self.at)
        hint = "" if self.peek() else "; is the file complete?"
        place = f"line {line}, column {column}"
        raise DataFileError(self.file.path, place, f"expected JSON: {problem}{hint}")


class JsonParser:
    """Parses the text of a JSON file.

    Lists of numbers become ``array("d")``; other values become what ``json.load`` returns.

    Args:
        text: The text to parse.
    """

    def __init__(self, text: JsonText) -> None:
        self._text = text
        self._spend = text.file.spend
        self._decoder = json.JSONDecoder()
        self._keys: dict[str, str] = {}

    def parse(self) -> Any:
        """Return the root value.

        Raises:
            DataFileError: If the text is not valid JSON, an object has a duplicate key, or the
                values are nested too deeply or would take too much memory.
        """
        root = self._value(0)
        if self._text.peek():
            self._text.fail("Extra data")
        return root

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise DataFileError(self._text.file.path, "", "the JSON is nested too deeply")
        start = self._text.peek()
        if start == "[":
            return self._list(depth)
        if start == "{":
            return self._object(depth)
        value = self._scalar()
        self._spend(sys.getsizeof(value))
        return value

    def _scalar(self) -> Any:
        """Return the string, number, true, false or null that begins here."""
        text = self._text
        while True:
            problem: json.JSONDecodeError | None = None
            try:
                value, end = self._decoder.raw_decode(text.text, text.at)
            except json.JSONDecodeError as exc:
                problem, end = exc, len(text.text)
            except ValueError as exc:  # an integer of thousands of digits
                raise DataFileError(text.file.path, "", str(exc)) from None
            # What ends with the text that has been read may be only the start of a value.
            rest = _REST.match(text.text, end)
            if rest is not None and rest.end() == len(text.text):
                if rest.end() - text.at > text.file.longest_text:
                    most = text.file.longest_text
                    text.fail(f"a string must be at most {most:,} characters long; {REMEDY}")
                if text.more():
                    continue
            if problem is not None:
                text.fail(problem.msg, problem.pos)
            text.at = end
            return value

    def _object(self, depth: int) -> dict[str, Any]:
        text = self._text
        text.at += 1
        members: dict[str, Any] = {}
        self._spend(sys.getsizeof(members))
        while text.peek() != "}" or members:
            if text.peek() != '"':
                text.fail("Expecting property name enclosed in double quotes")
            key: str = self._scalar()
            if key in members:
                problem = "expected unique keys in each object, found "
                shown = printable(key[:LONGEST_SHOWN])
                raise DataFileError(text.file.path, "", f"{problem}{shown!r} more than once")
            if text.peek() != ":":
                text.fail("Expecting ':' delimiter")
            text.at += 1
            members[self._shared(key)] = self._value(depth + 1)
            if text.peek() == "}":
                break
            self._comma()
        text.at += 1
        return members

    def _shared(self, key: str) -> str:
        known = self._keys.get(key)
        if known is not None:
            self._spend(DICT_SLOT)
            return known
        self._spend(DICT_SLOT + sys.getsizeof(key))
        if len(self._keys) < MOST_SHARED_KEYS:
            self._keys[key] = key
        return key

    def _comma(self) -> None:
        if self._text.peek() != ",":
            self._text.fail("Expecting ',' delimiter")
        self._text.at += 1

    def _list(self, depth: int) -> list[Any] | array[float]:
        text = self._text
        text.at += 1
        if text.peek() == "]":
            text.at += 1
            self._spend(sys.getsizeof([]))
            return []
        numbers = array("d")
        self._spend(sys.getsizeof(numbers))
        others, ended = self._numbers(numbers)
        if ended and not others:
            return numbers
        # There is something other than numbers, so that the list becomes an ordinary one.
        self._spend((LIST_SLOT + sys.getsizeof(0.0)) * len(numbers))
        items: list[Any] = [*numbers, *others]
        while not ended:
            self._spend(LIST_SLOT)
            items.append(self._value(depth + 1))
            if text.peek() == "]":
                text.at += 1
                break
            self._comma()
        return items

    def _numbers(self, numbers: array[float]) -> tuple[list[float], bool]:
        """Read the numbers at the start of a list, up to its end or the first other value.

        Args:
            numbers: The array to which the numbers are appended.

        Returns:
            The last of the numbers if they do not fit into an array, and whether the list has
            ended; if it has not, its next value follows.
        """
        text = self._text
        while text.peek() and (match := _NUMBERS.match(text.text, text.at)):
            end = match.end()
            ended = text.text[end : end + 1] == "]"
            if not ended:
                # What follows the last comma is another value, or the start of a number.
                end = text.text.rfind(",", text.at, end)
            if end < 0:
                length = len(text.text) - text.at
                if match.end() == len(text.text) and length <= CHUNK and text.more():
                    continue
                break
            piece = self._piece(text.text[text.at : end])
            text.at = end + 1
            self._spend(ARRAY_SLOT * len(piece))
            try:
                numbers.extend(array("d", piece))
            except OverflowError:  # an integer beyond the range of a float
                return piece, ended
            if ended:
                return [], True
        return [], False

    def _piece(self, run: str) -> list[float]:
        try:
            piece: list[float] = json.loads(f"[{run}]")
        except json.JSONDecodeError as exc:
            self._text.fail(exc.msg, self._text.at + exc.pos - 1)
        except ValueError as exc:  # an integer of thousands of digits
            raise DataFileError(self._text.file.path, "", str(exc)) from None
        return piece
