"""Tests for shortening the values that messages quote."""

from collections import OrderedDict
from itertools import repeat

import pytest

from nanospan.values.messages import LONGEST_SHOWN, shorten, shown


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -17,
        1.5,
        "it's",
        b"\x00",
        "x" * LONGEST_SHOWN,
        [],
        (),
        (1,),
        {},
        [1, "two", (3, {"b": 4, "a": [5.0]})],
        {1, 2},
        OrderedDict(a=1),
        ...,
    ],
)
def test_a_short_value_is_shown_as_its_repr(value):
    """A value whose ``repr`` is short is shown as that."""
    assert shown(value) == repr(value)


@pytest.mark.parametrize(
    ("value", "start", "size"),
    [
        ("x" * 1_500_000, "'xxx", "1,500,000 characters"),
        (b"x" * 300, "b'xxx", "300 bytes"),
        (["ab"] * 1000, "['ab', 'ab'", "1,000 items"),
        ({"a": "x" * 10**6}, "{'a': 'xxx", "1 items"),
        ((("ab",) * 999,), "(('ab', 'ab'", "1 items"),
        (set(range(1000)), "{", "shortened"),
    ],
)
def test_a_long_value_is_cut(value, start, size):
    """Of a long value, the first 200 characters and the size are shown."""
    text = shown(value)
    assert text.startswith(start)
    assert text.endswith(f"... ({size})")
    assert len(text) == LONGEST_SHOWN + len(f"... ({size})")


def test_escapes_count():
    """The limit is on what is shown, after control characters have been escaped."""
    text = shown("\x00" * 199)
    assert text == "'" + r"\x00" * 49 + r"\x0" + "... (199 characters)"


def test_only_what_is_shown_is_looked_at():
    """Items beyond the limit are not represented, at any depth."""

    class Counted:
        count = 0

        def __repr__(self):
            Counted.count += 1
            return "c"

    item = Counted()
    shown([[[item] * 1000] * 1000] * 1000)
    assert Counted.count < LONGEST_SHOWN
    shown(dict(enumerate(repeat(item, 1000))))
    assert Counted.count < 2 * LONGEST_SHOWN


def test_a_huge_integer_is_described():
    """An integer that Python refuses to print is shown by its size."""
    assert shown(10**5000) == "<int of 16,610 bits>"
    assert shown({"a": 10**5000}) == "{'a': <int of 16,610 bits>}"


def test_a_value_that_contains_itself_is_shown():
    """A list that contains itself is cut like any other."""
    value = []
    value.append(value)
    assert shown(value).startswith("[[[[")


def test_a_failing_repr_is_not_raised():
    """A value whose ``repr`` raises is shown by its type."""

    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert shown(Broken()) == "<Broken without a repr>"


def test_text_is_cut_without_quotes():
    """``shorten`` cuts a text, such as a path, and states its length."""
    assert shorten("a\nb") == "a\nb"
    assert shorten("/" * 201) == "/" * 200 + "... (201 characters)"
