"""What the output of the commands has in common: tables, colours, complaints."""

from __future__ import annotations

import functools
import json
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, TextIO

from nanospan.values.units import duration_text, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_INPUT = 2
"""Exit status where the input does not allow an answer."""

fixed_duration = functools.partial(duration_text, trim=False)
"""Three digits of a duration, zeros included, so that figures of a column line up."""

COLOURS = {"regressed": "31", "improved": "32", "insufficient": "33"}
"""How verdicts look on a terminal: red, green, yellow."""


def complain(problem: str | OSError | ValueError) -> int:
    """Print what is wrong with the input, and return the exit status for it."""
    if isinstance(problem, OSError) and problem.filename is not None:
        problem = f"{problem.filename}: {problem.strerror}"
    print(f"nanospan: {problem}", file=sys.stderr)
    return BAD_INPUT


def say(lines: Sequence[str]) -> None:
    """Print lines; whoever reads them may stop at any, as ``head`` does.

    Raises:
        SystemExit: If they cannot be written, with the status of bad input: that of an exception
            would mean that something regressed.
    """
    encoding = sys.stdout.encoding or "utf-8"
    output = "\n".join(lines).encode(encoding, "replace").decode(encoding)
    try:
        print(output, flush=True)
    except OSError as exc:
        # The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(exc, BrokenPipeError):
            raise SystemExit(complain(f"standard output: {exc.strerror}")) from None


def say_json(document: object) -> None:
    """Print a JSON document."""
    say([json.dumps(document, indent=2, allow_nan=False)])


def coloured(stream: TextIO) -> bool:
    """Whether colours are welcome: on a terminal, unless the environment says no (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(verdict: str, text: str) -> str:
    """Give a verdict its colour."""
    code = COLOURS.get(verdict)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: int) -> list[str]:
    """Align a table: as many columns as hold words to the left, the others to the right."""
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
    """The same table for GitHub and others who read its dialect."""
    rule = [":---" if column < words else "---:" for column in range(len(headings))]
    return [f"| {' | '.join(row)} |" for row in (headings, rule, *rows)]


def markdown_name(operation: str) -> str:
    """An operation's name as code; a bar would end the table's cell."""
    fence = "``" if "`" in operation else "`"
    return f"{fence}{printable(operation)}{fence}".replace("|", "\\|")


def _width(text: str) -> int:
    """Columns of a terminal: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
