"""Tests for the demo's embeddings, which are based on hashed character n-grams."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from nanospan.demo.embedding import DIMENSIONS, embed


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_golden_values() -> None:
    """A text always has the same vector, so that stored embeddings remain comparable."""
    vector = embed("To be, or not to be")
    assert len(vector) == DIMENSIONS == 384
    assert sum(value != 0 for value in vector) == 28
    assert vector[12] == pytest.approx(1 / 7)
    assert vector[108] == pytest.approx(2 / 7)
    assert vector[40] == pytest.approx(-2 / 7)
    assert vector[0] == 0


def test_same_in_another_process() -> None:
    """A vector is the same in every process, unlike Python's randomised ``hash``."""
    code = "from nanospan.demo.embedding import embed; print(embed('Good night'))"
    other = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert other.strip() == repr(embed("Good night"))


@pytest.mark.parametrize(
    "text", ["a", "O me!", "Ünïcödé → 文字", "😀", "x" * 10_000, "\ud800", "a\x00b"]
)
def test_length_is_one(text: str) -> None:
    """Any text with a visible character has a vector of length 1."""
    assert math.hypot(*embed(text)) == pytest.approx(1)


@pytest.mark.parametrize("text", ["", " ", "\n\t  "])
def test_text_without_characters_is_the_zero_vector(text: str) -> None:
    """A text without a visible character has the zero vector."""
    assert embed(text) == [0.0] * DIMENSIONS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ROMEO", "romeo"),
        ("a  rose\nby", "a rose by"),
        ("caf\u00e9", "cafe\u0301"),
        ("ﬁre", "fire"),
    ],
)
def test_spelling_variants_are_equal(one: str, other: str) -> None:
    """Texts that differ only in case, white space or Unicode form have equal vectors."""
    assert embed(one) == embed(other)


def test_characters_count_not_bytes() -> None:
    """Texts do not become similar merely because their UTF-8 encodings share bytes."""
    assert _cosine(embed("éééé"), embed("èèèè")) == pytest.approx(0, abs=0.6)
    assert embed("éééé") != embed("èèèè")


def test_similar_texts_have_similar_vectors() -> None:
    """A text's vector is closer to that of a variation than to that of an unrelated text."""
    said = embed("A horse! a horse! my kingdom for a horse!")
    alike = embed("my kingdom for a horse")
    other = embed("What light through yonder window breaks?")
    assert _cosine(said, alike) > 0.6
    assert _cosine(said, other) < 0.3
