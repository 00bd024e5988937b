"""Read recordings from snapshot files, baseline files and exported samples."""

from __future__ import annotations

import functools
import json
import re
import sys
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nanospan._core import (
    MAX_DURATION,
    OUTCOMES,
    SNAPSHOT_MAGIC,
    MonitorSnapshot,
    Samples,
    unescape_name,
)
from nanospan.values.baselines import FORMAT, Baseline
from nanospan.values.data_files import DataFileError, open_data_file, size_limit
from nanospan.values.documents import read_json
from nanospan.values.json_stream import LIST_SLOT, MOST_SHARED_KEYS
from nanospan.values.messages import shorten, shown
from nanospan.values.recordings import RecordedOperation, Recording, histogram_of, record_of

if TYPE_CHECKING:
    from pathlib import Path

    from nanospan.values.data_files import DataFile

KINDS = (
    "a snapshot (MonitorSnapshot.to_bytes), a baseline (Baseline.save), or a file of samples in "
    "JSON lines (nanospan export)"
)

BASELINE_HEAD = re.compile(rf'\s*{{\s*"format"\s*:\s*"{FORMAT}"'.encode())
"""Matches the start of a baseline file; lines of exported samples have no ``format`` key."""

LONGEST_HEAD = 256
"""Number of bytes at the start of a file that suffice to recognise its kind."""

LATEST = 2**63 - 1
"""Latest end time that a sample can have, in Unix nanoseconds; it is in the year 2262."""


SAMPLE_MEMORY = 8 + 8 + 1 + 8
"""The memory of a sample's duration, end, outcome, and place for metadata, in bytes."""

OPERATION_MEMORY = 2048
"""The memory of an operation's columns, histogram and window in bytes, without samples."""


class RecordingFileError(ValueError):
    """Raised when a file is not a valid recording; the message states the file and the problem."""


def read_recording(path: Path, *, max_bytes: int | None = None) -> Recording:
    """Read a recording from a file, detecting the file's kind from its content.

    Args:
        path: The file's path.
        max_bytes: The maximum size of the file in bytes; by default the value of the environment
            variable ``NANOSPAN_MAX_BYTES``, or 256 MiB. While reading, the values take at most
            three times the size of the file, or a quarter of the limit; and the operations, without
            their samples, at most the limit.

    Raises:
        OSError: If the file cannot be read, or is not a regular file.
        RecordingFileError: If the file is damaged, too large or of an unknown kind.
        ValueError: If the limit is invalid.
    """
    limit = size_limit(max_bytes)
    try:
        with open_data_file(path, limit) as file:
            head = file.file.peek(LONGEST_HEAD)[:LONGEST_HEAD]
            if head.startswith(SNAPSHOT_MAGIC):
                return _read_snapshot(file)
            if BASELINE_HEAD.match(head):
                return _recorded(Baseline.from_document(read_json(file), file.limit))
            if head.lstrip()[:1] == b"{":
                return _read_samples(file)
    except DataFileError as wrong:  # the message names the file and where it is invalid
        raise RecordingFileError(str(wrong)) from None
    raise RecordingFileError(f"{shorten(path)}: expected {KINDS}")


def _read_snapshot(file: DataFile) -> Recording:
    try:
        return record_of(MonitorSnapshot.from_bytes(file.read_all()))
    except DataFileError:
        raise
    except ValueError as damaged:
        raise RecordingFileError(f"{shorten(file.path)}: {damaged}") from None


def _recorded(baseline: Baseline) -> Recording:
    return Recording(
        baseline.time,
        [
            RecordedOperation(
                name,
                operation.histogram,
                functools.partial(_itself, Samples(operation.samples.tobytes())),
            )
            for name, operation in baseline.operations.items()
        ],
    )


class _Exact(float):
    """A float that also stores, in ``digits``, the text from which it was parsed.

    A plain float is not precise enough for Unix time in nanoseconds.
    """

    __slots__ = ("digits",)

    def __init__(self, digits: str) -> None:
        self.digits = digits


@dataclass(slots=True)
class _Columns:
    """The samples read so far for one operation, stored as columns."""

    ends: array[int] = field(default_factory=lambda: array("Q"))
    durations: array[float] = field(default_factory=lambda: array("d"))
    outcomes: array[int] = field(default_factory=lambda: array("B"))
    metadata: list[dict[str, Any] | None] = field(default_factory=list)

    def add(self, row: dict[str, Any], metadata: dict[str, Any] | None) -> None:
        """Append a sample, given as a parsed line of JSON, and its metadata to the columns.

        Raises:
            ValueError: If a field is missing or invalid.
        """
        duration = _seconds(row, "duration", MAX_DURATION)
        if duration is None:
            raise ValueError("'duration' must be a number of seconds, but is missing")
        end, outcome = _seconds(row, "timestamp", LATEST / 1e9), row.get("outcome")
        if outcome is not None and outcome not in OUTCOMES:
            raise ValueError(
                f"'outcome' must be one of {', '.join(OUTCOMES)}, got {shown(outcome)}"
            )
        self.metadata.append(metadata)
        self.durations.append(duration)
        # A sample that lacks its end time or outcome is added to neither column. recorded() detects
        # such samples by the columns' different lengths.
        if end is not None and outcome is not None:
            self.ends.append(_nanoseconds(end))
            self.outcomes.append(OUTCOMES.index(outcome))

    def recorded(self, operation: str) -> RecordedOperation:
        """Return the samples as a recorded operation with the name ``operation``.

        End times and outcomes are dropped unless every sample has both, because a timeline can be
        drawn only if they are complete.
        """
        timed = len(self.ends) == len(self.durations)
        samples = Samples(
            self.durations.tobytes(),
            self.ends.tobytes() if timed else None,
            self.outcomes.tobytes() if timed else None,
            self.metadata if any(self.metadata) else None,
        )
        return RecordedOperation(
            operation,
            histogram_of(operation, self.durations),
            functools.partial(_itself, samples),
            error_count=self.outcomes.count(1) if timed else None,
            cancelled_count=self.outcomes.count(2) if timed else None,
        )


def _itself(samples: Samples) -> Samples:
    return samples


def _read_samples(file: DataFile) -> Recording:
    operations: dict[str, _Columns] = {}
    metadata_of = _MetadataReader(file).metadata_of
    # json.loads would create a decoder for every line.
    decode = json.JSONDecoder(parse_float=_Exact).decode
    for number, line in enumerate(iter(file.read_line, b""), start=1):
        try:
            row = decode(line.decode("utf-8"))
            operation = row.get("operation") if isinstance(row, dict) else None
            if not isinstance(operation, str) or not operation:
                problem = "a sample must be a JSON object with a non-empty string 'operation'"
                raise ValueError(problem)  # noqa: TRY301
            name = unescape_name(operation)
            columns = operations.get(name)
            if columns is None:
                file.spend_on_operation(OPERATION_MEMORY + len(name))
                columns = operations[name] = _Columns()
            columns.add(row, metadata_of(row))
            file.spend(SAMPLE_MEMORY)
        except DataFileError:
            raise
        except (ValueError, RecursionError, OverflowError) as wrong:
            raise RecordingFileError(
                f"{shorten(file.path)}, line {number}: {wrong}; expected {KINDS}"
            ) from None
    latest = max((end for columns in operations.values() for end in columns.ends), default=None)
    recorded = []
    # Each operation's columns are freed once they are converted.
    while operations:
        name = next(iter(operations))
        recorded.append(operations.pop(name).recorded(name))
    time = file.path.stat().st_mtime if latest is None else latest / 1e9
    return Recording(time, recorded)


class _MetadataReader:
    """Extracts the metadata of samples, and counts the memory that it takes.

    The keys of many samples are the same, and share their memory.
    """

    def __init__(self, file: DataFile) -> None:
        self._file = file
        self._keys: dict[str, str] = {}

    def metadata_of(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Return the metadata of a sample, or None if it has none.

        Raises:
            ValueError: If the metadata is not a JSON object.
            DataFileError: If there is too much of it for the size of the file.
        """
        metadata = row.get("metadata") or {}
        if not isinstance(metadata, dict):
            problem = f"'metadata' must be a JSON object, got {shown(metadata)}"
            raise ValueError(problem)  # noqa: TRY004
        if not metadata:
            return None
        kept: dict[str, Any] = self._kept(metadata)
        return kept

    def _kept(self, value: Any) -> Any:
        if isinstance(value, _Exact):
            value = float(value)
        elif isinstance(value, dict):
            value = {self._key(key): self._kept(each) for key, each in value.items()}
        elif isinstance(value, list):
            value = [self._kept(each) for each in value]
        self._file.spend(sys.getsizeof(value) + LIST_SLOT)
        return value

    def _key(self, key: str) -> str:
        if key not in self._keys:
            self._file.spend(sys.getsizeof(key))
            if len(self._keys) >= MOST_SHARED_KEYS:
                return key
            self._keys[key] = key
        return self._keys[key]


def _seconds(row: dict[str, Any], key: str, most: float) -> float | int | None:
    """Return the number of seconds in the field ``key``, or None if the field is absent or null.

    Raises:
        ValueError: If the field is not a number from 0 to ``most``.
    """
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key!r} must be a number of seconds, got {shown(value)}")  # noqa: TRY004
    if not 0 <= value <= most:
        raise ValueError(
            f"{key!r} must be a number of seconds from 0 to {most}, got {shown(value)}"
        )
    return value


def _nanoseconds(time: float) -> int:
    """Convert a Unix time from seconds to nanoseconds, exactly if its decimal digits are known."""
    if isinstance(time, _Exact) and "e" not in time.digits.lower():
        whole, _, fraction = time.digits.partition(".")
        nanoseconds = int(whole) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)
    else:
        nanoseconds = round(time * 10**9)
    if nanoseconds > LATEST:
        raise ValueError(
            f"'timestamp' must be a Unix time of at most {LATEST // 10**9} seconds, "
            f"got {shown(time)}"
        )
    return nanoseconds
