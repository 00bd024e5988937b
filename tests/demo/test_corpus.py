"""Tests for the demo's packaged text and for parsing it into turns."""

from __future__ import annotations

import pytest

from nanospan.demo.corpus import FEWEST_TURNS, Turn, load_turns, parse_turns, take_turns


def test_reads_speakers_and_lines() -> None:
    """A turn has the speaker's name without the colon, and all lines of the paragraph."""
    text = "First Citizen:\nSpeak.\n\nAll:\nWe know't,\nwe know't: all.\n"
    assert parse_turns(text) == [
        Turn("First Citizen", "Speak."),
        Turn("All", "We know't,\nwe know't: all."),
    ]


def test_speaker_without_words_is_left_out() -> None:
    """A speaker's name without any text below it produces no turn."""
    assert parse_turns("TITUS:\n\nROMEO:\nO me!\n") == [Turn("ROMEO", "O me!")]


@pytest.mark.parametrize("text", ["", "\n\n", " \n\n \n"])
def test_white_space_gives_no_turns(text: str) -> None:
    """A text that consists only of white space has no turns."""
    assert parse_turns(text) == []


def test_paragraph_without_speaker_is_rejected() -> None:
    """The error for a paragraph without a speaker shows its first line."""
    with pytest.raises(ValueError, match="got 'Exeunt'"):
        parse_turns("ROMEO:\nO me!\n\nExeunt\n")


def test_packaged_text() -> None:
    """The packaged text is complete."""
    turns = load_turns()
    assert len(turns) == 7097
    assert len({turn.speaker for turn in turns}) == 299
    assert turns[0] == Turn("First Citizen", "Before we proceed any further, hear me speak.")
    assert turns[-1].text.endswith("Whiles thou art waking.")
    assert all(turn.speaker and turn.text for turn in turns)


def test_take_turns_returns_the_first_turns() -> None:
    """``take_turns`` returns the requested number of turns from the beginning of the text."""
    assert take_turns(FEWEST_TURNS) == load_turns()[:FEWEST_TURNS]


@pytest.mark.parametrize("count", [-1, 0, FEWEST_TURNS - 1, 7098])
def test_take_turns_names_the_limits(count: int) -> None:
    """The error for too few or too many turns states the valid range."""
    with pytest.raises(ValueError, match=f"from {FEWEST_TURNS} to 7097, got {count}"):
        take_turns(count)
