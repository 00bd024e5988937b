"""Files with samples, of every kind: baselines, benchmark results, lists of numbers."""

from __future__ import annotations

from math import isfinite

from nanospan.export.sample_files import read_histories, read_samples
from nanospan.values.data_files import DataFileError
from nanospan_fuzz.inputs import as_file, check_message

READS_FILES = True
MEMORY_FACTOR = 16
"""Reading takes three times the file; the median of a history's file sorts its values as floats,
which take ten times as much as the shortest number in a file."""


def target(data: bytes) -> None:
    """Any file gives a DataFileError, or operations with finite values."""
    path = as_file(data)
    try:
        file = read_samples(path)
    except DataFileError as error:
        check_message(error)
    else:
        for values in file.operations.values():
            assert values
            assert all(value >= 0 and isfinite(value) for value in values)
    try:
        histories = read_histories([path, path])
    except DataFileError as error:
        check_message(error)
    else:
        assert all(len(history.values) == 2 for history in histories.values())
