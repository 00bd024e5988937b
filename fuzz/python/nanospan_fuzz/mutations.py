"""Alter inputs in ways that coverage-guided engines seldom try: repetition, and changes in JSON."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

INTERESTING: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**63, 2**64, 10**400),
    *(float("nan"), float("inf"), "", " ", "a", "0", "-1", "1e400", "*", "[", "\ud800", "\0", "\n"),
    *("süß", "a" * 300, "%s", "{value}", [], {}, [[]], {"": None}, [None] * 40),
]
"""Values that programs tend to get wrong."""

BYTES = [
    b"\0",
    b"\xff",
    b'"',
    b"'",
    b"\\",
    b"[",
    b"{",
    b"=",
    b",",
    b"\n",
    b"\r\n",
    b"%",
    b"\xed\xa0\x80",
]


def alter(data: bytes, random: Random, others: Sequence[bytes], *, is_json: bool) -> bytes:
    """Return an altered input: as JSON if it is JSON, else as bytes.

    Args:
        data: The input.
        random: The source of randomness.
        others: Inputs of which the altered one may contain parts.
        is_json: Whether the target reads JSON.
    """
    if is_json and random.random() < 0.8:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = {}
        try:
            for _ in range(random.randrange(1, 4)):
                value = _alter_value(value, random)
            return json.dumps(value).encode()
        except RecursionError:
            return data
    for _ in range(random.randrange(1, 5)):
        data = _alter_bytes(data, random, others)
    return data


def repeat(data: bytes, random: Random, most: int) -> bytes:
    """Return an input in which a part is repeated, often until it has ``most`` bytes.

    What takes time or memory out of proportion does not show in short inputs.
    """
    start = random.randrange(len(data) + 1)
    part = data[start : start + random.choice([1, 2, 3, 8, 30, 300])] or b"a"
    times = random.choice([2, 10, 1000, most])
    times = min(times, max(0, most - len(data)) // len(part))
    return data[:start] + part * times + data[start:]


def _alter_bytes(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice([1, 1, 2, 4, 16, 64]))
    kind = random.randrange(6)
    if kind == 0:
        return data[:at] + data[end:]
    if kind == 1:
        return data[:at] + random.choice(BYTES) + data[at:]
    if kind == 2:
        return data[:at] + random.choice(BYTES) + data[end:]
    if kind == 3:
        return data[:at] + random.randbytes(end - at) + data[end:]
    if kind == 4:
        other = random.choice(others) if others else data
        cut = random.randrange(len(other) + 1)
        return data[:at] + other[cut : cut + 64] + data[end:]
    return repeat(data, random, min(len(data) * 4, 4096))


def _alter_value(value: Any, random: Random) -> Any:
    """Return a JSON value in which one value, chosen at random, is another."""
    places: list[tuple[Any, Any]] = []
    whole = [value]
    _collect(whole, places)
    container, key = random.choice(places)
    kind = random.randrange(6)
    if kind == 0 and container is not whole:
        del container[key]
    elif kind == 1:
        container[key] = [container[key]] * random.choice([1, 2, 50])
    elif kind == 2 and isinstance(container, dict):
        container[str(random.choice(INTERESTING))] = container.pop(key)
    elif kind == 3:
        other, there = random.choice(places)
        container[key] = copy.deepcopy(other[there])
    elif kind == 4 and isinstance(container[key], str):
        text = container[key].encode("utf-8", "surrogatepass")
        container[key] = _alter_bytes(text, random, ()).decode("utf-8", "surrogateescape")
    else:
        container[key] = copy.deepcopy(random.choice(INTERESTING))
    return whole[0]


def _collect(container: Any, places: list[tuple[Any, Any]]) -> None:
    """Collect the places of all values in a list or dict, as pairs of container and key."""
    for key in container if isinstance(container, dict) else range(len(container)):
        places.append((container, key))
        if isinstance(container[key], (dict, list)) and len(places) < 1000:
            _collect(container[key], places)
