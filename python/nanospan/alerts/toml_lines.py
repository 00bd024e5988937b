"""Which line of a TOML document each key stands on, which `tomllib` does not tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Path", "locate"]

Path = tuple["str | int", ...]

# What may come next where a value or a key is: strings first, as they may hold everything else.
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
    """Find the keys of a valid TOML document.

    Args:
        text: The document.

    Returns:
        The line, from 1, of each table and key outside inline tables, by its path: keys, and for
        the elements of an array of tables their number from 0.
    """
    lines: dict[Path, int] = {}
    arrays: dict[Path, int] = {}
    table: Path = ()
    for line, head, names in _statements(text):
        if head == "=":
            lines.setdefault((*table, *names), line)
            continue
        # Names of a header go through the last element of each array of tables on the way.
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
    """The line, kind (``=``, ``[`` or ``[[``) and names of each statement."""
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
            names.append(part[1:-1])  # escapes as they are spelled: found by the table then
        line += part.count("\n")
