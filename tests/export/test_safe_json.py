"""Tests for encoding arbitrary metadata as JSON."""

import enum
import json
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanospan import _core
from nanospan.export.safe_json import MAX_DEPTH, clean, to_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(SCALARS, inner) | st.tuples(inner, inner),
    max_leaves=20,
)


class Hostile:
    """An object that cannot be converted to text, because its ``repr`` raises."""

    def __repr__(self):
        raise RuntimeError("no text")


class Colour(str, enum.Enum):
    RED = "red"


@given(VALUES)
def test_any_value_becomes_json_in_utf8(value):
    """Any value becomes JSON that a strict parser, which rejects NaN, can read."""
    json.loads(to_json(value).decode("utf-8"), parse_constant=lambda _: pytest.fail("NaN"))


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=["Cs"])),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
            ),
            max_leaves=10,
        ),
    )
)
def test_json_values_come_back_unchanged(metadata):
    """Values that JSON can represent are read back unchanged, whichever encoder wrote them."""
    [native] = _core.Samples(bytes(8), metadata=[metadata]).metadata_json(to_json)
    for encoded in (to_json(metadata), native):
        assert json.loads(encoded) == metadata


@given(st.dictionaries(SCALARS, VALUES))
def test_both_encoders_agree_on_any_value(metadata):
    """The native and the Python encoder produce equivalent JSON for any metadata."""
    [native] = _core.Samples(bytes(8), metadata=[metadata]).metadata_json(to_json)
    assert json.loads(native) == json.loads(to_json(metadata))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "nan"),
        (-math.inf, "-inf"),
        (np.int64(5), 5),
        (np.float32(0.5), 0.5),
        (Fraction(1, 2), 0.5),
        (Decimal("1.5"), "Decimal('1.5')"),
        (Colour.RED, "red"),
        ({1, 2}, "{1, 2}"),
        (b"\xff", "b'\\xff'"),
        ((1, None), [1, None]),
        ({3: "a", None: "b", True: "c"}, {"3": "a", "null": "b", "true": "c"}),
        ({(1, 2): float("inf")}, {"(1, 2)": "inf"}),
        ("\udc80", "\\udc80"),
        ({"\ud800": "\udfff"}, {"\\ud800": "\\udfff"}),
        ("\N{GRINNING FACE}", "\N{GRINNING FACE}"),
        (Hostile(), "<Hostile without text>"),
        ([Hostile(), float("nan")], ["<Hostile without text>", "nan"]),
    ],
)
def test_other_values_are_converted(value, expected):
    """Third-party numbers stay numbers, and all other objects become readable text."""
    assert json.loads(to_json(value)) == expected


def test_huge_integers_become_hexadecimal():
    """An int with too many digits for Python to print becomes hexadecimal text."""
    number = 1 << 20_000
    assert int(json.loads(to_json({"n": number}))["n"], 16) == number


def test_cycles_and_depth_end():
    """Containers that contain themselves or are too deeply nested are cut off and shown as text."""
    cyclic = {"name": "x"}
    cyclic["self"] = cyclic
    assert json.loads(to_json(cyclic))["name"] == "x"
    deep = []
    for _ in range(100_000):
        deep = [deep]
    read = json.loads(to_json([deep, float("nan")]))
    depth = 0
    while isinstance(read, list):
        read, depth = read[0], depth + 1
    assert depth <= MAX_DEPTH + 1


def test_clean_text_is_utf8_and_otherwise_unchanged():
    """``clean()`` replaces lone surrogates and leaves all other text unchanged."""
    assert clean('a"\n\0é\N{GRINNING FACE}') == 'a"\n\0é\N{GRINNING FACE}'
    assert clean("a\udc80b") == "a\\udc80b"
