"""Write timelines as Chrome trace-event JSON, for Perfetto and chrome://tracing.

Google's document "Trace Event Format" describes the format; see the sections "Complete Events" and
"Metadata Events".
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, TYPE_CHECKING

from nanospan import _core
from nanospan._core import OUTCOMES, escape_name
from nanospan.export.safe_json import to_json
from nanospan.export.tables import CHUNK_ROWS
from nanospan.values.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanospan._core import Lanes, Samples
    from nanospan.values.recordings import RecordedOperation, Recording

LEASE_OPERATION = "connection_lease"
"""The operation under which the pool manager records how long connections are leased."""

OPERATIONS, POOLS = 1, 2
GROUPS = {OPERATIONS: b"operations", POOLS: b"connection pools"}
"""Names of the groups of tracks, keyed by number; the trace format calls groups processes."""

COLOURS = {"ok": "good", "error": "terrible", "cancelled": "grey"}
"""The trace format's names for colours, keyed by outcome.

A successful sample over the threshold has the colour ``bad`` instead.
"""


class NoTimesError(ValueError):
    """The source has no samples with timestamps, so there is nothing to draw on a timeline."""


@dataclass(frozen=True, slots=True)
class _Track:
    """A timeline track with the samples of one operation or one pool.

    Attributes:
        name: The track's name: the operation's or the pool's.
        group: The number of the track's group; a key in ``GROUPS``.
        recorded: The recorded operation that the samples belong to.
        lanes: The samples, arranged in lanes (rows of the track) so that samples in a lane do not
            overlap.
        start: The start time of the earliest sample, in Unix nanoseconds.
    """

    name: str
    group: int
    recorded: RecordedOperation
    lanes: Lanes
    start: int


def write_trace(recording: Recording, file: IO[bytes]) -> None:
    """Write a recording's samples as a timeline in Chrome trace-event JSON.

    Each operation has a track, which is divided into lanes so that samples do not overlap. Leases
    of pooled connections are in a separate group, with a track for each pool. A sample's label
    shows whether the sample failed, was cancelled or exceeded the threshold; its arguments include
    the outcome and metadata. Times are in microseconds since the start of the first sample.

    Raises:
        NoTimesError: If there are no samples, or their times are unknown.
    """
    tracks = [track for recorded in recording.operations for track in _tracks(recorded)]
    if not tracks:
        raise NoTimesError(
            "source must have samples with timestamps for a timeline; use a monitor or a file of "
            "samples rather than a snapshot or a baseline"
        )
    origin = min(track.start for track in tracks)
    start = datetime.fromtimestamp(origin / 1e9, timezone.utc).isoformat()
    head = {"displayTimeUnit": "ms", "otherData": {"start": start, "nanospan": _core.__version__}}
    file.write(json.dumps(head).removesuffix("}").encode() + b', "traceEvents": [\n')
    thread = 1
    for track in tracks:
        file.writelines(label + b",\n" for label in _labels(track, thread))
        _write_samples(track, file, origin, thread)
        thread += track.lanes.count
    groups = [group for group in GROUPS if any(track.group == group for track in tracks)]
    names = [_label(b"process_name", group, 0, b'"name":"%s"' % GROUPS[group]) for group in groups]
    file.write(b",\n".join(names) + b"\n]}\n")


def _tracks(recorded: RecordedOperation) -> Iterator[_Track]:
    samples = recorded.samples()
    if samples is None:
        return
    named = {recorded.operation: samples}
    group = OPERATIONS
    if recorded.operation == LEASE_OPERATION:
        named, group = _by_pool(samples), POOLS
    for name, of_name in named.items():
        if not of_name.timed:
            continue
        lanes = of_name.lanes()
        if lanes.first_start is not None:
            yield _Track(escape_name(name), group, recorded, lanes, lanes.first_start)


def _by_pool(samples: Samples) -> dict[str, Samples]:
    """Return samples of connection leases, keyed by the pool named in their metadata."""
    rows: dict[str, list[int]] = {}
    for row, metadata in enumerate(samples.metadata or [None] * len(samples)):
        rows.setdefault(str((metadata or {}).get("pool", LEASE_OPERATION)), []).append(row)
    return {pool: samples.take(of_pool) for pool, of_pool in rows.items()}


def _labels(track: _Track, thread: int) -> Iterator[bytes]:
    """Yield the metadata events that give a track's lanes their names and order."""
    name = to_json(track.name).removesuffix(b'"')
    for lane in range(track.lanes.count):
        suffix = b"" if lane == 0 else b" (%d)" % (lane + 1)
        yield _label(b"thread_name", track.group, thread + lane, b'"name":' + name + suffix + b'"')
        order = b'"sort_index":%d' % (thread + lane)
        yield _label(b"thread_sort_index", track.group, thread + lane, order)


def _label(kind: bytes, group: int, thread: int, argument: bytes) -> bytes:
    return b'{"name":"%s","ph":"M","pid":%d,"tid":%d,"args":{%s}}' % (kind, group, thread, argument)


def _write_samples(track: _Track, file: IO[bytes], origin: int, thread: int) -> None:
    heads = [[_head(track, outcome, over=over) for over in (False, True)] for outcome in OUTCOMES]
    threshold = track.recorded.threshold
    limit = math.inf if threshold is None else threshold
    for start in range(0, track.lanes.rows, CHUNK_ROWS):
        stop = start + CHUNK_ROWS
        file.write(track.lanes.event_rows(start, stop, heads, limit, origin, thread, to_json))


def _head(track: _Track, outcome: str, *, over: bool) -> bytes:
    """Return the start of an event's JSON, up to the fields that differ between samples.

    Args:
        track: The track that the samples belong to.
        outcome: The samples' outcome.
        over: Whether the samples exceeded the threshold.
    """
    name, category = track.name, "lease" if track.group == POOLS else "operation"
    threshold = track.recorded.threshold
    marks = [outcome] if outcome != "ok" else []
    if over and threshold is not None:
        marks.append(f"over {duration_text(threshold)}")
    arguments: dict[str, object] = {
        "operation": escape_name(track.recorded.operation),
        "outcome": outcome,
    }
    if over:
        arguments |= {"violation": True, "threshold": threshold}
    event = {
        "name": f"{name}: {', '.join(marks)}" if marks else name,
        "cat": ",".join([category, outcome, *(["violation"] if over else [])]),
        "ph": "X",
        "pid": track.group,
        "cname": "bad" if over and outcome == "ok" else COLOURS[outcome],
        "args": arguments,
    }
    return to_json(event).removesuffix(b"}}")
