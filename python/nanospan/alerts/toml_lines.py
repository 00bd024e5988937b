"""Finds the line numbers of keys in TOML documents, which ``tomllib`` does not report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ComplexityError", "Path", "Statement", "locate", "statements"]

Path = tuple["str | int", ...]

MOST_NAMES = 8
"""The maximum number of names in a dotted key. An alerts file needs three.

The time and memory that ``tomllib`` takes grow with the square of this number.
"""

MOST_BRACKETS = 16
"""The maximum depth of nested arrays and inline tables; ``tomllib`` recurses for each level."""

LONGEST_BARE = 10_000
"""The maximum length of a number or bare key; ``tomllib`` takes a hundred times it in memory."""

MOST_TOKENS = 150_000
"""The maximum number of names, values and punctuation marks.

This is enough for thousands of rules. ``tomllib`` parses as many in half a second.
"""

# The relevant tokens. A string is matched up to its opening quotes, because a regular expression
# would need much memory for a string of many escapes. Blank lines and comments after a line break
# are part of it, so that a file of them has few tokens; the limit bounds the memory of the match.
_TOKEN = re.compile(
    r"(?P<string>\"\"\"|'''|\"|')"
    r"|(?P<newline>\n(?:[ \t\r\n]+|\#[^\n]*){0,1000})"
    r"|(?P<skipped>[ \t\r]+|\#[^\n]*)"
    r"|(?P<mark>[\[\]{}=.,])"
    r"|(?P<bare>[A-Za-z0-9_-]+)"
    r"|(?P<other>[^ \t\r\n\"'\#\[\]{}=.,A-Za-z0-9_-]+)"
)

# The end of a string that begins with these quotes: an escape, which does not end it, or the
# closing quotes. A string in single quotes ends at its line if it is not closed.
_STRING_ENDS = {
    '"': re.compile(r'\\[^\n]|"|(?=\n)'),
    "'": re.compile(r"'|(?=\n)"),
    '"""': re.compile(r'\\.|"{3,5}', re.DOTALL),
    "'''": re.compile(r"'{3,5}"),
}


class ComplexityError(ValueError):
    """Raised when a TOML document would take too long to parse.

    Attributes:
        line: The line number, counted from 1.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Statement(NamedTuple):
    """A statement of a TOML document.

    Attributes:
        line: The line number, counted from 1.
        head: The kind of statement: ``=``, ``[`` or ``[[``.
        names: The names in the statement's key.
    """

    line: int
    head: str
    names: list[str]


def locate(document: Iterable[Statement]) -> dict[Path, int]:
    """Find the line of each key in a valid TOML document.

    Args:
        document: The statements of the document.

    Returns:
        A dict that maps the path of each table and key to its line number, counted from 1. It does
        not contain the keys inside inline tables. A path consists of keys and, for elements of
        arrays of tables, indices counted from 0.
    """
    lines: dict[Path, int] = {}
    arrays: dict[Path, int] = {}
    table: Path = ()
    for line, head, names in document:
        if head == "=":
            lines.setdefault((*table, *names), line)
            continue
        # In a table header, the name of an array of tables refers to its last element.
        table = ()
        for name in names[:-1]:
            table = _into(arrays, (*table, name))
        table = (*table, names[-1])
        if head == "[[":
            arrays[table] = arrays.get(table, -1) + 1
        table = _into(arrays, table)
        lines.setdefault(table, line)
    return lines


def _into(arrays: dict[Path, int], path: Path) -> Path:
    return (*path, arrays[path]) if path in arrays else path


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a TOML document.

    In an invalid document, the statements before the first error are right, and those after it are
    arbitrary.

    Raises:
        ComplexityError: If a key has too many names, values are nested too deeply, or there are too
            many of either, so that ``tomllib`` would take long or exceed the recursion limit.
    """
    head, names, in_value = "", list[str](), False
    for line, depth, kind, part in _bounded(_tokens(text)):
        if kind == "newline" and depth == 0:
            if head in {"[", "[["} and names:
                yield Statement(line, head, names)
            head, names, in_value = "", [], False
        elif in_value:
            continue
        elif part == "=":
            yield Statement(line, "=", names)
            in_value = True
        elif part == "[":
            head += "["
        elif kind == "bare":
            names.append(part)
        elif kind == "string":
            # Escapes are not decoded, so a key with escapes is reported at the line of its table.
            names.append(part[1:-1])


def _bounded(tokens: Iterable[tuple[str, str]]) -> Iterator[tuple[int, int, str, str]]:
    """Yield each token with its line and the number of brackets that are open after it.

    Raises:
        ComplexityError: If there is too much of anything; see :func:`statements`.
    """
    line, depth, run, previous = 1, 0, 0, ""
    for number, (kind, part) in enumerate(tokens):
        if kind in {"bare", "string"}:
            run = run + 1 if previous == "." else 1
        elif kind == "mark":
            depth = max(depth + (part in "[{") - (part in "]}"), 0)
        if number > MOST_TOKENS:
            message = f"the file must have at most {MOST_TOKENS:,} names, values and marks"
            raise ComplexityError(line, message)
        if kind == "bare" and len(part) > LONGEST_BARE:
            message = f"a number or bare key must be at most {LONGEST_BARE:,} characters long"
            raise ComplexityError(line, message)
        if run > MOST_NAMES:
            raise ComplexityError(line, f"a key must have at most {MOST_NAMES} names")
        if depth > MOST_BRACKETS:
            message = f"values must be nested at most {MOST_BRACKETS} levels deep"
            raise ComplexityError(line, message)
        yield line, depth, kind, part
        previous = part
        line += part.count("\n")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each token, except spaces, and comments beside a statement."""
    begin, length = 0, len(text)
    while begin < length:
        match = _TOKEN.match(text, begin)
        if match is None:
            raise AssertionError("unreachable: every character begins a token")
        kind, end = match.lastgroup or "", match.end()
        if kind == "string":
            ends = _STRING_ENDS[match[0]].finditer(text, end)
            end = next((each.end() for each in ends if each[0][:1] != "\\"), length)
        if kind != "skipped":
            yield kind, text[begin:end]
        begin = end
