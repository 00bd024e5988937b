"""Split turns of dialogue into conversations, and conversations into requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanospan.demo.corpus import Turn

TURNS_PER_REQUEST = 2
"""The default number of turns in a request: one speaker's words and another's answer."""
TURNS_PER_CONVERSATION = 20
"""The number of turns in a conversation, and the maximum in a request."""


@dataclass(frozen=True)
class Request:
    """A request to store an exchange from a conversation and then answer a question."""

    conversation: int
    turns: tuple[Turn, ...]
    question: str


def conversations(
    turns: Sequence[Turn], turns_per_request: int = TURNS_PER_REQUEST
) -> list[list[Request]]:
    """Split turns of dialogue into conversations, and conversations into requests.

    Args:
        turns: The turns, in order.
        turns_per_request: The number of turns in each request, at most ``TURNS_PER_CONVERSATION``.

    Returns:
        The requests of each conversation. Trailing turns that do not fill a request are left out.
        The question of a request is the last turn's text.
    """
    size = turns_per_request
    result = []
    for number, start in enumerate(range(0, len(turns), TURNS_PER_CONVERSATION)):
        part = turns[start : start + TURNS_PER_CONVERSATION]
        batches = (tuple(part[i : i + size]) for i in range(0, len(part), size))
        requests = [
            Request(number, batch, batch[-1].text) for batch in batches if len(batch) == size
        ]
        if requests:
            result.append(requests)
    return result
