"""Metadata of samples with any values, as JSON."""

from __future__ import annotations

import ast
import json

from nanospan._core import Samples
from nanospan.export.safe_json import clean, to_json
from nanospan_fuzz.inputs import InvalidInput, as_text


def target(data: bytes) -> None:
    """Any Python literal is encoded as JSON in UTF-8, without NaN and infinities."""
    text = as_text(data)
    clean(text).encode()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise InvalidInput from None
    json.loads(to_json(value).decode("utf-8"), parse_constant=_refuse)
    metadata = {text: value, "again": [value, {1.5: text}]}
    json.loads(to_json(metadata), parse_constant=_refuse)
    [row] = Samples(bytes(8), bytes(8), bytes(1), [metadata]).metadata_json(to_json)
    json.loads(row or b"", parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not valid JSON")
