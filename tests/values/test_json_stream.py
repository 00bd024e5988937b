"""Tests for parsing JSON piece by piece.

Properties, for every text and every size of the pieces:

- the parser returns what ``json.loads`` returns, with lists of numbers as arrays;
- it raises a DataFileError where ``json.loads`` raises an error, or an object has a key twice.
"""

import json
import math
from array import array

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanospan.regression import DataFileError
from nanospan.values import data_files, json_stream
from nanospan.values.data_files import open_data_file
from nanospan.values.documents import read_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS | st.lists(st.floats() | st.integers(-9, 10**400), max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)
MARKS = st.sampled_from('[]{},:"\\1-.eNnx ')
PIECES = st.integers(1, 40)
ANY_PIECES = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Return a function that parses a text, reading some bytes at a time."""
    path = tmp_path / "file.json"

    def parse(text, piece=1 << 16, **limits):
        monkeypatch.setattr(data_files, "CHUNK", piece)
        monkeypatch.setattr(json_stream, "CHUNK", piece)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with open_data_file(path, **limits) as file:
            return read_json(file).value

    return parse


def plain(value):
    """Return a parsed value with lists in place of arrays, floats for integers, and NaN as text."""
    if isinstance(value, (list, array)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if type(value) is int and abs(value) < 2**1023:
        return float(value)  # as in lists of numbers, if it fits
    return value


@ANY_PIECES
@given(VALUES, PIECES, st.sampled_from([None, 1, "\t"]))
def test_values_are_read_as_by_the_standard_library(parse, value, piece, indent):
    """Every value is read as ``json.loads`` reads it, whatever the size of the pieces."""
    text = json.dumps(value, indent=indent)
    assert plain(parse(text, piece)) == plain(json.loads(text))


@ANY_PIECES
@given(VALUES, PIECES, st.tuples(st.integers(0, 400), st.integers(0, 3), MARKS))
def test_invalid_texts_are_rejected_as_by_the_standard_library(parse, value, piece, change):
    """A text with a piece replaced is rejected if and only if ``json.loads`` rejects it."""
    text = json.dumps(value)
    at, removed, inserted = change
    text = text[:at] + inserted + text[at + removed :]
    try:
        json.loads(text, object_pairs_hook=_unique)
    except ValueError:
        with pytest.raises(DataFileError):
            parse(text, piece)
    else:
        parse(text, piece)


def _unique(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[1, 2", "line 1, column 6: expected JSON: Expecting ',' delimiter; is the file complete"),
        ("[1,\n 2,\n ]", "line 3, column 2: expected JSON: Expecting value$"),
        ("[1,\n 2 3]", "line 2, column 4: expected JSON: Expecting ',' delimiter$"),
        ('{"a": 1,\r\n "b" 2}', "line 2, column 6: expected JSON: Expecting ':' delimiter$"),
        ('{"a": 1,}', "line 1, column 9: expected JSON: Expecting property name"),
        ('{"a": "x', "line 1, column 7: expected JSON: Unterminated string"),
        ("[1] x", "line 1, column 5: expected JSON: Extra data$"),
        ("[" * 200, "the JSON is nested too deeply"),
        ('{"a": 1, "a": 2}', "expected unique keys in each object, found 'a' more than once"),
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 1 << 16])
def test_errors_name_the_place(parse, text, place, piece):
    """The line and column of an error do not depend on the size of the pieces."""
    with pytest.raises(DataFileError, match=f"file.json: {place}"):
        parse(text, piece)


@pytest.mark.parametrize("part", ["[],", "{},", '"",', "null,", '{"a":1},', "[[1]],"])
def test_values_that_take_too_much_memory_are_rejected(parse, part):
    """A file whose values take far more memory than its text is rejected."""
    with pytest.raises(DataFileError, match=r"must fit into .* bytes of memory \(3 times its size"):
        parse("[" + part * 100_000 + "1]", max_bytes=1 << 20)


def test_a_long_list_of_numbers_is_an_array(parse):
    """A list of numbers is read as an array of floats."""
    values = [number / 7 for number in range(50_000)]
    read = parse(json.dumps({"a": values}))["a"]
    assert isinstance(read, array)
    assert read.tolist() == values
