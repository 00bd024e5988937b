"""The dialogue that the demo stores: Shakespeare's plays as turns of named speakers."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from importlib import resources

DEFAULT_TURNS = 4000
"""The default number of turns that the demo stores: about 25 s of work on two cores."""
FEWEST_TURNS = 100
"""The minimum number of turns; fewer would give too few requests for a comparison."""


@dataclass(frozen=True)
class Turn:
    """The uninterrupted words of one speaker.

    Attributes:
        speaker: The speaker's name as printed, for example ``First Citizen``.
        text: The lines spoken, joined by newlines; never empty.
    """

    speaker: str
    text: str


def parse_turns(text: str) -> list[Turn]:
    """Parse ``SPEAKER:`` turns separated by blank lines.

    Turns without any words are left out.

    Args:
        text: The text to parse.

    Returns:
        The turns, in the order of the text.

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
    """Load all turns from the packaged text, in their original order."""
    packed = resources.files("nanospan.demo").joinpath("data/shakespeare.txt.xz").read_bytes()
    return parse_turns(lzma.decompress(packed).decode("ascii"))


def take_turns(count: int) -> list[Turn]:
    """Load the first ``count`` turns from the packaged text.

    Raises:
        ValueError: If ``count`` is below ``FEWEST_TURNS`` or above the number of turns.
    """
    turns = load_turns()
    if not FEWEST_TURNS <= count <= len(turns):
        raise ValueError(
            f"the number of turns must be from {FEWEST_TURNS} to {len(turns)}, got {count}"
        )
    return turns[:count]
