"""Samples as columns of bytes: durations, ends, outcomes; and their rows, lanes and pixels."""

from __future__ import annotations

from nanospan._core import Samples
from nanospan.export.safe_json import to_json


def target(data: bytes) -> None:
    """Any columns give a ValueError, or samples that can be cut, drawn and written."""
    count = len(data) // 17
    columns = data[: 8 * count], data[8 * count : 16 * count], data[16 * count :]
    for ends in (columns[1], None, data):
        try:
            samples = Samples(columns[0], ends, None if ends is None else columns[2])
        except ValueError:
            continue
        _use(samples)


def _use(samples: Samples) -> None:
    assert len(samples.slice(1, 5)) == max(0, min(4, len(samples) - 1))
    assert len(samples.take(range(len(samples)))) == len(samples)
    samples.metadata_json(to_json)
    if not samples.timed:
        return
    rows = samples.table_rows(
        [b"<", b",", b",", b",", b">\n"], b"-", quoted=False, fallback=to_json
    )
    assert rows.count(b"\n") == len(samples)
    lanes = samples.lanes()
    assert lanes.rows == len(samples)
    if (extent := samples.extent()) is not None:
        pixels = samples.pixels((63, 15), extent[0], (1e-9, 1.0))
        assert all(0 <= x <= 63 and 0 <= y <= 15 for marks in pixels for x, y in marks)
