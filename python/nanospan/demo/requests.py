"""Split turns of dialogue into conversations, and conversations into requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanospan.demo.corpus import Turn

TURNS_PER_REQUEST = 2
"""The number of turns in an exchange: one speaker's words and another's answer."""
TURNS_PER_CONVERSATION = 20


@dataclass(frozen=True)
class Request:
    """A request to store an exchange from a conversation and then answer a question."""

    conversation: int
    turns: tuple[Turn, ...]
    question: str


def conversations(turns: Sequence[Turn]) -> list[list[Request]]:
    """Split turns of dialogue into conversations, and conversations into requests.

    Args:
        turns: The turns, in order.

    Returns:
        The requests of each conversation. Every request has ``TURNS_PER_REQUEST`` turns (trailing
        turns that do not fill a request are left out), and its question is the last turn's text.
    """
    result = []
    for number, start in enumerate(range(0, len(turns), TURNS_PER_CONVERSATION)):
        part = turns[start : start + TURNS_PER_CONVERSATION]
        batches = (
            tuple(part[i : i + TURNS_PER_REQUEST]) for i in range(0, len(part), TURNS_PER_REQUEST)
        )
        requests = [
            Request(number, batch, batch[-1].text)
            for batch in batches
            if len(batch) == TURNS_PER_REQUEST
        ]
        if requests:
            result.append(requests)
    return result
