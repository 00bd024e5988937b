"""Finds the line numbers of keys in TOML documents, which ``tomllib`` does not report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Path", "locate"]

Path = tuple["str | int", ...]

# The relevant tokens. Strings come first, because they may contain any of the others.
_TOKEN = re.compile(
    r'(?P<string>"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*')"
    r"|(?P<comment>\#[^\n]*)"
    r"|(?P<newline>\n)"
    r"|(?P<mark>[\[\]{}=.,])"
    r"|(?P<bare>[A-Za-z0-9_-]+)"
    r"|(?P<other>.)",
    re.DOTALL,
)


def locate(text: str) -> dict[Path, int]:
    """Find the line of each key in a valid TOML document.

    Args:
        text: The contents of the document.

    Returns:
        A dict that maps the path of each table and key to its line number, counted from 1. It does
        not contain the keys inside inline tables. A path consists of keys and, for elements of
        arrays of tables, indices counted from 0.
    """
    lines: dict[Path, int] = {}
    arrays: dict[Path, int] = {}
    table: Path = ()
    for line, head, names in _statements(text):
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


def _statements(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Yield each TOML statement's line number, kind (``=``, ``[`` or ``[[``) and key names."""
    line, depth = 1, 0
    head, names, in_value = "", list[str](), False
    for match in _TOKEN.finditer(text):
        kind, part = match.lastgroup, match[0]
        if kind == "newline" and depth == 0:
            if head in {"[", "[["} and names:
                yield line, head, names
            head, names, in_value = "", [], False
        elif in_value:
            depth += (part in {"[", "{"}) - (part in {"]", "}"})
        elif kind == "mark":
            if part == "=":
                yield line, "=", names
                in_value = True
            elif part == "[":
                head += "["
        elif kind == "bare":
            names.append(part)
        elif kind == "string":
            # Escapes are not decoded, so a key with escapes is reported at the line of its table.
            names.append(part[1:-1])
        line += part.count("\n")
