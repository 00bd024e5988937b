"""Baselines: saved durations with which later runs are compared."""

from __future__ import annotations

import base64
import json
import math
import platform
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nanospan._core import Monitor, Snapshot, __version__
from nanospan.values.data_files import (
    REMEDY,
    VARIABLE,
    DataFileError,
    open_data_file,
    size_limit,
)
from nanospan.values.documents import Node, read_json
from nanospan.values.files import write_atomically
from nanospan.values.messages import shown
from nanospan.values.recordings import histogram_of, window

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

FORMAT = "nanospan-baseline"
VERSION = 1

YEAR_10000 = 253_402_300_800
"""The Unix time of the start of the year 10000, which ``datetime`` cannot represent."""


@dataclass(frozen=True, slots=True)
class OperationBaseline:
    """The durations of one operation in a baseline.

    Attributes:
        samples: The durations in the operation's window, in seconds, oldest first; at least one.
            As in the window, failed and cancelled executions are included.
        histogram: All durations since the operation was first recorded or last cleared, in
            exponential buckets.
    """

    samples: array[float]
    histogram: Snapshot


@dataclass(frozen=True, repr=False)
class Baseline:
    """The durations that a monitor recorded, with the time and machine of the recording.

    ```python
    monitor.baseline({"commit": "4f2a91c"}).save("baseline.json")
    ...
    for operation, comparison in monitor.compare(Baseline.load("baseline.json")).items():
        print(operation, comparison.verdict)
    ```

    A baseline does not include the samples' metadata, which may be confidential. It is immutable
    and may be used from any thread.

    Attributes:
        operations: The operations, keyed by name, in the order in which they were first seen.
        time: The Unix time at which the baseline was taken, in seconds.
        host: The machine's name.
        python: The interpreter and its version, such as ``CPython 3.13.1``.
        nanospan: The version of nanospan that created the baseline.
        labels: Strings attached by the user, keyed by label name, such as ``{"branch": "main"}``.

    Raises:
        TypeError: If the name or value of a label is not a str.
    """

    operations: Mapping[str, OperationBaseline]
    time: float = field(default_factory=time.time)
    host: str = field(default_factory=platform.node)
    python: str = field(
        default_factory=lambda: f"{platform.python_implementation()} {platform.python_version()}"
    )
    nanospan: str = __version__
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for label in self.labels.items():
            if not all(isinstance(text, str) for text in label):
                raise TypeError(f"the name and value of a label must be str, got {shown(label)}")

    @classmethod
    def from_monitor(cls, monitor: Monitor, labels: Mapping[str, str] | None = None) -> Baseline:
        """Create a baseline of every operation in ``monitor`` that has samples.

        Samples that are recorded during the call may or may not be included.

        Args:
            monitor: The monitor whose operations to include.
            labels: Strings to store with the baseline, keyed by label name.

        Raises:
            TypeError: If the name or value of a label is not a str.
        """
        snapshot = monitor.snapshot()
        return cls(
            {
                name: OperationBaseline(durations, operation.all)
                for name, operation in snapshot.operations.items()
                if (durations := array("d", window(monitor, name).durations))
            },
            time=snapshot.time,
            labels=dict(labels or {}),
        )

    @classmethod
    def from_samples(
        cls,
        samples: Mapping[str, Iterable[float]],
        labels: Mapping[str, str] | None = None,
    ) -> Baseline:
        """Create a baseline from durations that were measured without a monitor.

        Args:
            samples: The durations of each operation, in seconds and in chronological order, keyed
                by operation; operations without durations are left out.
            labels: Strings to store with the baseline, keyed by label name.

        Raises:
            TypeError: If a name or label is not a str, or a duration is not a number.
            ValueError: If a duration is negative, longer than 584 years or NaN, or a name is empty.
        """
        operations = {}
        for name, values in samples.items():
            durations = array("d", values)
            histogram = histogram_of(name, durations)
            if durations:
                operations[name] = OperationBaseline(durations, histogram)
        return cls(operations, labels=dict(labels or {}))

    def samples(self) -> dict[str, array[float]]:
        """Return the durations of each operation in seconds, keyed by operation."""
        return {name: operation.samples for name, operation in self.operations.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the baseline atomically as a JSON file.

        Args:
            path: The file to write; an existing file is replaced once the new content is complete.

        Raises:
            OSError: If the file cannot be written; an existing file is left unchanged.
            ValueError: If the baseline has so many samples (millions) that the file would be too
                large to load.
        """
        text = self._to_json()
        if len(text) > (limit := size_limit()):
            raise ValueError(
                f"a baseline file must be at most {limit:,} bytes long, got {len(text):,} "
                f"bytes (operations: {len(self.operations):,}); use shorter windows, or set "
                f"{VARIABLE}"
            )
        write_atomically(Path(path), text)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Baseline:
        """Read a saved baseline.

        The file is not trusted: its size, types, numbers and histograms are checked.

        Args:
            path: The file to read.
            max_bytes: The maximum size of the file in bytes; by default the value of the
                environment variable ``NANOSPAN_MAX_BYTES``, or 256 MiB.

        Raises:
            OSError: If the file cannot be read, or is not a regular file.
            DataFileError: If the file is not a baseline, is damaged, or has a newer format. The
                message names the file, the location in the file and what was expected there.
        """
        path = Path(path)
        with open_data_file(path, max_bytes) as file:
            return cls.from_document(read_json(file), file.limit)

    @classmethod
    def from_document(cls, root: Node, limit: int) -> Baseline:
        """Create a baseline from the root of a parsed JSON file; see :meth:`load`.

        Args:
            root: The root of the file.
            limit: The maximum memory of its histograms in bytes.
        """
        if not root.has("format") or root["format"].value != FORMAT:
            raise DataFileError(root.path, "", f'expected a baseline with "format": "{FORMAT}"')
        memory = _HistogramMemory(limit)
        version = root["version"].whole_number()
        if version > VERSION:
            raise DataFileError(
                root.path,
                "version",
                f"this release of nanospan reads format versions up to {VERSION}, "
                f"got {shown(version)}; update nanospan, or create the baseline again",
            )
        if version < 1:
            root["version"].fail(f"a version from 1 to {VERSION}")
        return cls(
            operations={
                name: _read_operation(name, node, memory)
                for name, node in root["operations"].items()
            },
            time=_read_time(root["time"]),
            host=root["host"].text(),
            python=root["python"].text(),
            nanospan=root["nanospan"].text(),
            labels={name: node.text() for name, node in root["labels"].items()},
        )

    def _to_json(self) -> str:
        """Return the baseline as JSON, with one line for each operation's samples."""
        head = {
            "format": FORMAT,
            "version": VERSION,
            "time": self.time,
            "host": self.host,
            "python": self.python,
            "nanospan": self.nanospan,
            "labels": dict(self.labels),
        }
        operations = ",\n".join(
            f"    {json.dumps(name)}: {{\n"
            f'      "samples": {json.dumps(operation.samples.tolist(), allow_nan=False)},\n'
            f'      "histogram": "{base64.b64encode(operation.histogram.to_bytes()).decode()}"\n'
            "    }"
            for name, operation in self.operations.items()
        )
        members = json.dumps(head, indent=2, allow_nan=False).removesuffix("\n}")
        return f'{members},\n  "operations": {{\n{operations}\n  }}\n}}\n'

    def __repr__(self) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.time))
        return f"<Baseline of {len(self.operations)} operations, {when}>"


def _read_time(node: Node) -> float:
    if not 0 <= (seconds := node.number()) < YEAR_10000:
        node.fail("a Unix time from 1970 to the year 9999, in seconds")
    return seconds


class _HistogramMemory:
    """Counts the memory of histograms, which a few bytes in a file can make large.

    Args:
        limit: The maximum memory of all histograms in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spent = 0

    def spend(self, histogram: Snapshot, node: Node) -> None:
        """Count a histogram; raise a DataFileError if there are too many."""
        # A histogram has a counter for each bucket from its least to its greatest value.
        least, greatest = histogram.min or 1e-9, histogram.max or 1e-9
        self._spent += 200 + int(8 * 2**histogram.scale * math.log2(max(greatest / least, 1)))
        if self._spent > self._limit:
            problem = f"the histograms must fit into {self._limit:,} bytes of memory; {REMEDY}"
            raise DataFileError(node.path, node.place, problem)


def _read_operation(name: str, node: Node, memory: _HistogramMemory) -> OperationBaseline:
    if not name:
        node.fail("an operation with a name")
    samples = node["samples"].durations()
    encoded = node["histogram"].text()
    try:
        histogram = Snapshot.from_bytes(base64.b64decode(encoded, validate=True))
    except ValueError as exc:  # binascii.Error is a ValueError
        problem = f"expected a histogram in base64: {exc}"
        raise DataFileError(node.path, node["histogram"].place, problem) from None
    memory.spend(histogram, node["histogram"])
    return OperationBaseline(samples, histogram)
