"""Output functions shared by the commands: tables and colours."""

from __future__ import annotations

import functools
import json
import os
import unicodedata
from typing import TYPE_CHECKING, TextIO

from nanospan.cli.streams import write_out
from nanospan.values.units import duration_text, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

fixed_duration = functools.partial(duration_text, trim=False)
"""Formats a duration with exactly three digits, so that the figures in a column line up."""

COLOURS = {"regressed": "31", "improved": "32", "insufficient": "33"}
"""The terminal colour codes of verdicts: red, green and yellow."""


def print_lines(lines: Sequence[str], *, is_result: bool = True) -> None:
    """Print lines to standard output; see ``write_out``."""
    write_out("\n".join(lines) + "\n", is_result=is_result)


def print_json(document: object, *, is_result: bool = True) -> None:
    """Print ``document`` as JSON; see ``write_out``."""
    print_lines([json.dumps(document, indent=2, allow_nan=False)], is_result=is_result)


def use_colour(stream: TextIO) -> bool:
    """Return whether to use colours: only on a terminal, unless disabled (see no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(verdict: str, text: str) -> str:
    """Return ``text`` in the colour of ``verdict``, or unchanged if the verdict has no colour."""
    code = COLOURS.get(verdict)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: int) -> list[str]:
    """Return the lines of a table whose first ``words`` columns are left-aligned.

    The other columns contain figures and are right-aligned.
    """
    cells = [list(headings), *map(list, rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(_aligned(row, widths, words)).rstrip() for row in cells]


def _aligned(row: Sequence[str], widths: Sequence[int], words: int) -> list[str]:
    padding = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
    return [
        cell + space if column < words else space + cell
        for column, (cell, space) in enumerate(zip(row, padding, strict=True))
    ]


def markdown_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: int
) -> list[str]:
    """Return a table's lines in GitHub's Markdown, the first ``words`` columns left-aligned."""
    rule = [":---" if column < words else "---:" for column in range(len(headings))]
    return [f"| {' | '.join(row)} |" for row in (headings, rule, *rows)]


def markdown_name(operation: str) -> str:
    """Return an operation's name as Markdown code, with ``|`` escaped for use in a table."""
    fence = "``" if "`" in operation else "`"
    return f"{fence}{printable(operation)}{fence}".replace("|", "\\|")


def _width(text: str) -> int:
    """Return the text's width on a terminal, where wide East Asian characters take two columns."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
