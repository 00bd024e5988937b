"""The dialogue that the demo stores: Shakespeare's plays as turns of named speakers."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from importlib import resources

DEFAULT_TURNS = 4000
"""Turns that the demo stores by default: about 25 s of work on two cores."""
FEWEST_TURNS = 100
"""The fewest turns that leave enough requests for a comparison."""


@dataclass(frozen=True)
class Turn:
    """The words of one speaker until the next speaker begins.

    Attributes:
        speaker: The name as printed, for example ``First Citizen``.
        text: The lines, joined by newlines; never empty.
    """

    speaker: str
    text: str


def parse_turns(text: str) -> list[Turn]:
    """Read ``SPEAKER:`` turns separated by blank lines.

    Speakers without words, of which the text has some, are left out.

    Args:
        text: The whole text.

    Returns:
        The turns in order.

    Raises:
        ValueError: If a paragraph does not begin with a ``SPEAKER:`` line.
    """
    turns = []
    for paragraph in text.split("\n\n"):
        heading, _, body = paragraph.strip().partition("\n")
        if not heading:
            continue
        if not heading.endswith(":"):
            raise ValueError(f"a turn must begin with a line like 'ROMEO:', got {heading[:40]!r}")
        if body:
            turns.append(Turn(heading[:-1], body))
    return turns


def load_turns() -> list[Turn]:
    """Return the turns of the text in the package, in the order of the plays."""
    packed = resources.files("nanospan.demo").joinpath("data/shakespeare.txt.xz").read_bytes()
    return parse_turns(lzma.decompress(packed).decode("ascii"))


def take_turns(count: int) -> list[Turn]:
    """Return the first ``count`` turns of the text in the package.

    Raises:
        ValueError: If ``count`` is below ``FEWEST_TURNS`` or above the number of turns.
    """
    turns = load_turns()
    if not FEWEST_TURNS <= count <= len(turns):
        raise ValueError(
            f"the number of turns must be from {FEWEST_TURNS} to {len(turns)}, got {count}"
        )
    return turns[:count]
