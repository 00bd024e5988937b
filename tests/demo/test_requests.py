"""Tests for deriving requests, chunks and facts from a dialogue."""

from __future__ import annotations

from nanospan.demo.corpus import Turn
from nanospan.demo.layers import chunk_body, embed_facts
from nanospan.demo.requests import (
    TURNS_PER_CONVERSATION,
    TURNS_PER_REQUEST,
    conversations,
)

EXCHANGE = (
    Turn("ROMEO", "I dreamt of fair Juliet, and of Rome."),
    Turn("BENVOLIO", "Madam, an hour."),
)


def test_requests_cover_the_turns_in_order() -> None:
    """Every turn is in exactly one request, and the requests keep the order of the turns."""
    turns = [Turn("A", str(number)) for number in range(TURNS_PER_CONVERSATION * 2)]
    talks = conversations(turns)
    requests = [request for talk in talks for request in talk]
    assert [turn for request in requests for turn in request.turns] == turns
    assert [len(talk) for talk in talks] == [TURNS_PER_CONVERSATION // TURNS_PER_REQUEST] * 2
    assert [request.conversation for request in talks[1]] == [1] * len(talks[1])
    assert all(request.question == request.turns[-1].text for request in requests)


def test_incomplete_request_is_left_out() -> None:
    """Turns at the end that do not fill a request are left out."""
    turns = [Turn("A", "x")] * (TURNS_PER_CONVERSATION + 1)
    assert len(conversations(turns)) == 1
    assert conversations(turns[: TURNS_PER_REQUEST - 1]) == []


def test_chunk_names_the_speakers() -> None:
    """A chunk has one line per turn, which begins with the speaker's name."""
    assert chunk_body(EXCHANGE) == (
        "ROMEO: I dreamt of fair Juliet, and of Rome.\nBENVOLIO: Madam, an hour."
    )


def test_facts() -> None:
    """Facts are sorted, distinct answers and mentions, each with the turn it comes from."""
    facts = [fact[:3] for fact in embed_facts((*EXCHANGE, EXCHANGE[0]), [7, 8, 9])]
    assert facts == [
        ("BENVOLIO", "answers ROMEO", 8),
        ("ROMEO", "answers BENVOLIO", 9),
        ("ROMEO", "speaks of Juliet", 7),
        ("ROMEO", "speaks of Rome", 7),
    ]
