"""Encode arbitrary metadata as valid JSON."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 32
"""Maximum nesting depth of encoded containers; deeper containers are replaced by their repr."""


def to_json(value: object) -> bytes:
    r"""Encode any value as JSON in UTF-8, even if the value's methods raise exceptions.

    Number types from other libraries become JSON numbers, and other objects without a JSON
    equivalent are replaced by their ``repr``. NaN and infinities become ``"nan"``, ``"inf"`` and
    ``"-inf"``. A lone surrogate, which UTF-8 cannot encode, becomes an escape sequence such as
    ``\udc80``.
    """
    try:
        return _encode(value)
    except Exception:  # noqa: BLE001 - NaN, cycles, odd keys, lone surrogates, huge ints
        return _encode(_plain(value, MAX_DEPTH))


def clean(text: str) -> str:
    """Return ``text`` with lone surrogates, which UTF-8 cannot encode, replaced by escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _encode(value: object) -> bytes:
    return _ENCODER.encode(value).encode("utf-8")


def _convert(value: object) -> object:
    """Return a JSON-compatible value for an object that the JSON encoder does not support.

    Number types from other libraries become an int or float; other objects become their ``repr``.
    """
    try:
        if isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, numbers.Real):
            return float(value)
    except Exception:  # noqa: BLE001, S110 - a third-party number may raise anything
        pass
    return _text(value)


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_convert
)


def _text(value: object) -> str:
    try:
        return clean(repr(value))
    except Exception:  # noqa: BLE001 - any __repr__ may raise, even a huge int's
        return f"<{type(value).__name__} without text>"


def _plain(value: Any, depth: int) -> object:
    """Convert a value to plain types that the JSON encoder always accepts."""
    if isinstance(value, (Mapping, list, tuple)) and depth > 0:
        try:
            if isinstance(value, Mapping):
                return {_key(key): _plain(item, depth - 1) for key, item in value.items()}
            return [_plain(item, depth - 1) for item in value]
        except Exception:  # noqa: BLE001 - a third-party container may raise anything
            return _text(value)
    scalar = value if isinstance(value, (str, bool, int, float, type(None))) else _convert(value)
    if isinstance(scalar, str):
        return clean(str.__str__(scalar))
    if isinstance(scalar, float):
        return float.__float__(scalar) if math.isfinite(scalar) else float.__repr__(scalar)
    return _whole(scalar) if isinstance(scalar, int) and not isinstance(scalar, bool) else scalar


def _whole(value: int) -> object:
    try:
        int.__repr__(value)
    except ValueError:  # the interpreter limits the number of digits in a decimal
        return hex(value)
    return int.__int__(value)


def _key(key: object) -> str:
    if isinstance(key, str):
        return clean(str.__str__(key))
    encoded = _plain(key, 0)
    return encoded if isinstance(encoded, str) else json.dumps(encoded)
