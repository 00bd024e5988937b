"""Tests for samples stored as columns."""

import gc
import weakref
from array import array

import pytest

from nanospan import PerformanceMonitor
from nanospan._core import Samples


def columns(count, **others):
    """Return the columns of ``count`` samples with alternating outcomes."""
    return Samples(
        array("d", range(count)).tobytes(),
        array("Q", range(10, 10 + count)).tobytes(),
        bytes(number % 2 for number in range(count)),
        **others,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((bytes(9),), "durations must be a column of 1 values of 8 bytes each, got 9 bytes"),
        (
            (bytes(16), bytes(8), bytes(2)),
            "ends must be a column of 2 values of 8 bytes each, got 8 bytes",
        ),
        (
            (bytes(16), bytes(16), bytes(3)),
            "outcomes must be a column of 2 values of 1 bytes each, got 3 bytes",
        ),
        ((bytes(8), bytes(8)), "ends and outcomes must be passed together, got only one of them"),
        ((bytes(8), None, None, [{}, {}]), "metadata must be empty or have 1 rows, got 2"),
    ],
)
def test_columns_of_different_lengths_are_rejected(arguments, message):
    """Columns of unequal length are rejected before the native code reads them."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        Samples(*arguments)


def test_columns_are_returned_unchanged():
    """Columns are returned byte for byte, and metadata as the original objects."""
    attached = [{"a": 1}, None, {"b": 2}]
    samples = columns(3, metadata=attached)
    assert (len(samples), samples.timed) == (3, True)
    assert memoryview(samples.durations).cast("d").tolist() == [0, 1, 2]
    assert memoryview(samples.ends).cast("Q").tolist() == [10, 11, 12]
    assert samples.outcomes == b"\0\1\0"
    assert samples.metadata == attached
    assert samples.metadata[0] is attached[0]


def test_slices_and_rows_select_from_every_column():
    """A slice selects the same rows from every column and stops at the last sample."""
    samples = columns(5, metadata=[{"row": row} for row in range(5)])
    for part, rows in [
        (samples.slice(1, 3), [1, 2]),
        (samples.slice(4, 99), [4]),
        (samples.slice(7, 9), []),
        (samples.take([0, 3]), [0, 3]),
    ]:
        assert memoryview(part.durations).cast("d").tolist() == rows
        assert memoryview(part.ends).cast("Q").tolist() == [10 + row for row in rows]
        assert list(part.outcomes) == [row % 2 for row in rows]
        assert part.metadata == [{"row": row} for row in rows]
    with pytest.raises(IndexError, match=r"^row must be below 5, got 5$"):
        samples.take([5])


def test_samples_without_times_cannot_be_drawn():
    """Samples without timestamps have no table rows, timeline lanes or extent."""
    samples = Samples(bytes(16))
    assert (samples.timed, samples.ends, samples.outcomes) == (False, None, None)
    assert samples.extent() is None
    for use in (samples.lanes, lambda: samples.table_rows([b""] * 5, b"", False, repr)):
        with pytest.raises(ValueError, match=r"^samples must have ends and outcomes for this"):
            use()


def test_samples_in_a_cycle_are_freed():
    """The garbage collector frees samples whose metadata refer back to them."""

    class Mark:
        """An object that allows weak references, unlike a dict."""

    held = {"mark": Mark()}
    gone = weakref.ref(held["mark"])
    held["samples"] = columns(1, metadata=[held])
    del held
    gc.collect()
    assert gone() is None


def test_the_columns_of_a_window():
    """The columns of an operation hold the samples in its window, oldest first."""
    monitor = PerformanceMonitor()
    monitor.record_metric("op", 0.5)
    monitor.record_metric("op", 0.25, success=False, metadata={"k": 1})
    samples = monitor.operation("op")._columns()
    assert memoryview(samples.durations).cast("d").tolist() == [0.5, 0.25]
    assert samples.outcomes == b"\0\1"
    assert samples.metadata == [None, {"k": 1}]
