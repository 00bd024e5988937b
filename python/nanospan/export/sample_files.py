"""Read samples from nanospan baselines, pytest-benchmark results and lists of numbers."""

from __future__ import annotations

import math
import statistics
from array import array
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nanospan.values.baselines import FORMAT, Baseline
from nanospan.values.data_files import DataFileError, open_data_file
from nanospan.values.documents import Node, parse_json
from nanospan.values.json_stream import JsonText

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

Kind = Literal["baseline", "pytest-benchmark", "numbers"]

UNNAMED = "values"
"""The operation name for the numbers in a file with a single, unnamed list."""

KINDS = (
    "a nanospan baseline, pytest-benchmark's JSON, a JSON list of numbers, a JSON object of such "
    "lists, or a CSV file of one column"
)


@dataclass(frozen=True, slots=True)
class SampleFile:
    """The contents of a file with samples.

    Attributes:
        path: The file's path.
        kind: ``baseline``, ``pytest-benchmark`` or ``numbers``, as detected from the content.
        operations: Each operation's values in chronological order, keyed by operation; there is at
            least one operation. Values are in seconds, or in an unknown unit if ``kind`` is
            ``numbers``.
        time: The time at which the samples were taken, in Unix seconds, or None if unknown.
        host: The machine on which the samples were taken, or None if unknown.
    """

    path: Path
    kind: Kind
    operations: dict[str, array[float]]
    time: float | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """The values of one operation over time.

    Attributes:
        values: The values, in chronological order.
        in_seconds: Whether the values are durations in seconds; otherwise their unit is unknown.
        files: The file that each value comes from; empty if all values come from a single file.
    """

    values: array[float]
    in_seconds: bool
    files: list[Path]


def read_histories(
    paths: Sequence[str | os.PathLike[str]], *, max_bytes: int | None = None, pipes: bool = False
) -> dict[str, History]:
    """Read the history of each operation from files.

    With a single file, an operation's history is the list of its values. With several files, such
    as baselines or saved pytest-benchmark runs, each file contributes one value: the operation's
    median in that file. Benchmark files that contain only summaries are accepted. Files are sorted
    by time, or kept in the given order if any file's time is unknown.

    Args:
        paths: The paths of one or more files.
        max_bytes: The maximum size of each file in bytes; see :func:`read_samples`.
        pipes: Whether the files may be pipes, which are waited for.

    Returns:
        The histories keyed by operation, in the order in which operations first appear. A file
        that lacks an operation adds nothing to that operation's history.

    Raises:
        OSError: If a file cannot be read.
        DataFileError: Under the conditions described in :func:`read_samples`, except that negative
            numbers are allowed in lists.
    """
    if len(paths) == 1:
        file = read_samples(paths[0], non_negative=False, max_bytes=max_bytes, pipes=pipes)
        return {
            name: History(values, file.kind != "numbers", [])
            for name, values in file.operations.items()
        }
    medians = [_medians(path, max_bytes, pipes) for path in paths]
    if all(file.time is not None for file in medians):
        medians.sort(key=lambda file: file.time or 0.0)
    histories: dict[str, History] = {}
    in_seconds = all(file.kind != "numbers" for file in medians)
    for file in medians:
        for name, values in file.operations.items():
            history = histories.setdefault(name, History(array("d"), in_seconds, []))
            history.values.extend(values)
            history.files.append(file.path)
    return histories


def _medians(path: str | os.PathLike[str], max_bytes: int | None, pipes: bool) -> SampleFile:
    """Read a file of samples, and return it with only the median of each operation."""
    file = read_samples(path, non_negative=False, summaries=True, max_bytes=max_bytes, pipes=pipes)
    medians = {name: array("d", [statistics.median(v)]) for name, v in file.operations.items()}
    return replace(file, operations=medians)


def read_samples(
    path: str | os.PathLike[str],
    *,
    non_negative: bool = True,
    summaries: bool = False,
    max_bytes: int | None = None,
    pipes: bool = False,
) -> SampleFile:
    """Read samples from a nanospan baseline, a pytest-benchmark JSON file, or lists of numbers.

    The file's kind is detected from its content. A pytest-benchmark file has one operation per
    benchmark, named by ``fullname``; each value is the mean of one round's iterations. A JSON list,
    or a CSV file of one column with or without a heading, has one operation, called ``values``. A
    JSON object of lists has one operation per key.

    Args:
        path: The file's path.
        non_negative: Whether to reject negative numbers in lists, as they cannot be durations.
        summaries: Whether to use a benchmark's median if its individual rounds were not saved.
        max_bytes: The maximum size of the file in bytes; by default the value of the environment
            variable ``NANOSPAN_MAX_BYTES``, or 256 MiB. While reading, the values take at most
            three times the size of the file, or a quarter of the limit.
        pipes: Whether the file may be a pipe, which is waited for.

    Raises:
        OSError: If the file cannot be read, or is not a regular file.
        DataFileError: If the file is damaged, of an unknown kind, or has no values. The error is a
            ``ValueError``; its message names the file, the location of the error, and what is
            expected there.
    """
    path = Path(path)
    with open_data_file(path, max_bytes, pipes=pipes) as file:
        text = JsonText(file)
        if (start := text.peek()) and start not in "{[":
            return SampleFile(path, "numbers", {UNNAMED: _read_column(text, non_negative)})
        root = parse_json(text)
    if root.is_list:
        return SampleFile(path, "numbers", {UNNAMED: root.numbers(non_negative=non_negative)})
    if root.has("format") and root["format"].value == FORMAT:
        baseline = Baseline.from_document(root, file.limit)
        return SampleFile(path, "baseline", baseline.samples(), baseline.time, baseline.host)
    if root.has("benchmarks"):
        return _read_benchmarks(root, summaries)
    if not root.value or not all(node.is_list for _, node in root.items()):
        raise DataFileError(path, "", f"expected {KINDS}; found a JSON object of another kind")
    lists = {name: node.numbers(non_negative=non_negative) for name, node in root.items()}
    return SampleFile(path, "numbers", lists)


def _read_benchmarks(root: Node, summaries: bool) -> SampleFile:
    operations = {}
    for benchmark in root["benchmarks"].elements():
        name = benchmark["fullname"].text()
        if name in operations:
            benchmark["fullname"].fail("a name that no other benchmark in the file has")
        stats = benchmark["stats"]
        if stats.has("data"):
            operations[name] = stats["data"].durations()
        elif summaries:
            operations[name] = array("d", [stats["median"].duration()])
        else:
            raise DataFileError(
                root.path,
                stats.place,
                "expected the durations of individual rounds, found only a summary; "
                "run pytest with --benchmark-json=FILE, or with --benchmark-save-data",
            )
    if not operations:
        root["benchmarks"].fail("at least one benchmark")
    machine = root["machine_info"] if root.has("machine_info") else None
    host = machine["node"].text() if machine is not None and machine.has("node") else None
    return SampleFile(root.path, "pytest-benchmark", operations, _read_datetime(root), host)


def _read_datetime(root: Node) -> float | None:
    if not root.has("datetime"):
        return None
    text = root["datetime"].text()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        root["datetime"].fail("a date and time in ISO 8601")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def _read_column(text: JsonText, non_negative: bool) -> array[float]:
    path, spend = text.file.path, text.file.spend
    values: array[float] = array("d")
    may_be_heading = True
    for number, line in text.lines():
        cell = line.strip().strip('"').strip()
        if not cell:
            continue
        try:
            value = float(cell)
        except ValueError:
            if may_be_heading and "," not in cell:
                may_be_heading = False
                continue
            columns = cell.count(",") + 1
            found = f"{columns} columns" if columns > 1 else f"text of {len(cell)} characters"
            raise DataFileError(
                path, f"line {number}", f"expected one column of numbers, found {found}"
            ) from None
        may_be_heading = False
        if not math.isfinite(value) or (non_negative and value < 0):
            wanted = "a finite number" + (", zero or more" if non_negative else "")
            raise DataFileError(path, f"line {number}", f"expected {wanted}, found {cell[:40]}")
        spend(values.itemsize)
        values.append(value)
    if not values:
        raise DataFileError(path, "", f"expected {KINDS}; found no numbers")
    return values
