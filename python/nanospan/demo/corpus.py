"""The dialogue the demo remembers: Shakespeare's plays as turns of named speakers."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from importlib import resources

DEFAULT_TURNS = 4000
"""Turns the demo remembers unless told otherwise: about 25 s on two cores."""
FEWEST_TURNS = 100
"""Fewer would leave nothing to compare."""


@dataclass(frozen=True)
class Turn:
    """What one speaker says until another begins.

    Attributes:
        speaker: The name as printed, for example `First Citizen`.
        text: The lines, joined by newlines; never empty.
    """

    speaker: str
    text: str


def parse_turns(text: str) -> list[Turn]:
    """Read `SPEAKER:` turns separated by blank lines.

    A speaker without a line (the text has some) gives no turn.

    Args:
        text: The whole text.

    Returns:
        The turns in order.

    Raises:
        ValueError: A paragraph does not begin with a `SPEAKER:` line.
    """
    turns = []
    for paragraph in text.split("\n\n"):
        heading, _, body = paragraph.strip().partition("\n")
        if not heading:
            continue
        if not heading.endswith(":"):
            msg = f"a turn begins with a line like 'ROMEO:', not {heading[:40]!r}"
            raise ValueError(msg)
        if body:
            turns.append(Turn(heading[:-1], body))
    return turns


def load_turns() -> list[Turn]:
    """Read the turns of the text that comes with the package, in the order of the plays."""
    packed = resources.files("nanospan.demo").joinpath("data/shakespeare.txt.xz").read_bytes()
    return parse_turns(lzma.decompress(packed).decode("ascii"))


def take_turns(count: int) -> list[Turn]:
    """Read the first `count` turns of the text that comes with the package.

    Raises:
        ValueError: `count` is below `FEWEST_TURNS` or above the number of turns there are.
    """
    turns = load_turns()
    if not FEWEST_TURNS <= count <= len(turns):
        msg = f"the number of turns must be from {FEWEST_TURNS} to {len(turns)}, not {count}"
        raise ValueError(msg)
    return turns[:count]
