"""Snapshots of monitors and of single operations: ``from_bytes``."""

from __future__ import annotations

import zlib

from nanospan import MonitorSnapshot, Snapshot
from nanospan.export.prometheus.saved import SavedExposition
from nanospan_fuzz.inputs import as_file

READS_FILES = True


def target(data: bytes) -> None:
    """Any bytes give a ValueError, or a snapshot that encodes to the same bytes."""
    for given in (data, _sealed(data)):
        for kind in (Snapshot, MonitorSnapshot):
            _read(kind, given)


def _read(kind: type[Snapshot | MonitorSnapshot], data: bytes) -> None:
    try:
        snapshot = kind.from_bytes(data)
    except ValueError:
        return
    assert snapshot.to_bytes() == data
    repr(snapshot)
    if isinstance(snapshot, Snapshot):
        assert snapshot.count >= 0
        return
    for name, operation in snapshot.operations.items():
        assert name
        assert operation.all.count == sum(
            each.count for each in (operation.ok, operation.error, operation.cancelled)
        )
    SavedExposition([as_file(data)]).render()


def _sealed(data: bytes) -> bytes:
    """Return the bytes with a correct checksum, which a fuzzer cannot guess, as the last four."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")
