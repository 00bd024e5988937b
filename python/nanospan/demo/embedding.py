"""Embed texts by feature hashing of character n-grams: deterministic, local, without a model.

Texts with similar spellings get similar vectors, which is enough to search dialogue by its words.
The hash is CRC-32 rather than ``hash()``, so that a text's vector is the same in every process and
on every machine.
"""

from __future__ import annotations

import math
import unicodedata
from operator import mul
from zlib import crc32

DIMENSIONS = 384
NGRAM_SIZES = (3, 4)
_BYTES_PER_CHARACTER = 4


def embed(text: str) -> list[float]:
    """Embed ``text`` as a vector of length 1.

    Case, the amount of white space and compatibility variants of a character (NFKC) do not matter.
    Embedding takes about 0.5 microseconds per character.

    Args:
        text: The text to embed.

    Returns:
        ``DIMENSIONS`` floats. They are all zero if ``text`` is empty or only white space; such a
        vector is not similar to any other.
    """
    vector = [0.0] * DIMENSIONS
    words = unicodedata.normalize("NFKC", text).casefold().split()
    if not words:
        return vector
    # In UTF-32 every character has four bytes, so encoding the text once is enough.
    data = f" {' '.join(words)} ".encode("utf-32-le", "surrogatepass")
    # A hash gives a place and a sign. Thanks to the signs, collisions cancel out on average instead
    # of adding up.
    for size in NGRAM_SIZES:
        width = size * _BYTES_PER_CHARACTER
        starts = range(0, len(data) - width + 1, _BYTES_PER_CHARACTER)
        for code in map(crc32, [data[start : start + width] for start in starts]):
            place = code % (2 * DIMENSIONS)
            if place < DIMENSIONS:
                vector[place] += 1.0
            else:
                vector[place - DIMENSIONS] -= 1.0
    length = math.sqrt(sum(map(mul, vector, vector)))
    return [count / length for count in vector] if length else vector
