"""Files of what a monitor saw: JSON lines, CSV, Parquet and time lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias, get_args

from nanospan.export.parquet import write_parquet
from nanospan.export.tables import write_csv, write_jsonl
from nanospan.export.timeline import write_trace
from nanospan.values.files import replacing
from nanospan.values.recordings import record_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanospan.values.recordings import Recordable, Recording

Format: TypeAlias = Literal["jsonl", "csv", "parquet", "trace"]
Content: TypeAlias = Literal["samples", "summaries"]

FORMATS: tuple[Format, ...] = get_args(Format)

SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".json": "trace",
}
"""The format that the end of a file's name asks for."""

TABLES: dict[str, Callable[..., None]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}


def write(
    source: Recordable,
    target: str | os.PathLike[str] | IO[bytes],
    format: Format | None = None,  # noqa: A002 - what it is
    content: Content = "samples",
) -> None:
    """Write what a monitor saw to a file.

    ```python
    write(monitor, "samples.parquet")
    write(monitor, "summaries.csv", content="summaries")
    write(monitor, "trace.json")  # open it at https://ui.perfetto.dev
    ```

    Recording goes on meanwhile. May be called from any thread; it takes a fraction of a second for
    a million samples, during which the GIL is free most of the time, but belongs into
    `asyncio.to_thread` where an event loop runs.

    Args:
        source: A monitor, or a snapshot of one, which has summaries only.
        target: The file's path, or a binary file. A path's file is replaced at the end, when all is
            on the disk: it is at no moment half written.
        format: ``jsonl`` (an object a line), ``csv``, ``parquet`` (needs the extra ``arrow``) or
            ``trace`` (Chrome trace-event JSON, for Perfetto); by default what the suffix says:
            ``.jsonl``, ``.ndjson``, ``.csv``, ``.parquet``, ``.json``.
        content: ``samples``: a row for each sample in the windows, with Unix time stamp, duration
            in seconds, outcome and metadata. ``summaries``: a row for each operation, with counts,
            extremes and quantiles of everything since start. A time line has samples only.

    Raises:
        OSError: If the file cannot be written; what was there before still is.
        TypeError: If `source` is none.
        ValueError: If format or content are unknown, or a time line has no sample.
        ModuleNotFoundError: If the format needs a package that is not installed.
    """
    chosen = format or _format_of(target)
    if chosen not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, got {chosen!r}")
    if content not in get_args(Content):
        raise ValueError(f"content is 'samples' or 'summaries', got {content!r}")
    if chosen == "trace" and content != "samples":
        raise ValueError("a time line is drawn from samples, not from summaries")
    recording = record_of(source)
    if isinstance(target, (str, os.PathLike)):
        with replacing(target) as file:
            _write(recording, file, chosen, content)
    else:
        _write(recording, target, chosen, content)


def _write(recording: Recording, file: IO[bytes], format_: Format, content: Content) -> None:
    if format_ == "trace":
        write_trace(recording, file)
    else:
        TABLES[format_](recording, file, samples=content == "samples")


def _format_of(target: str | os.PathLike[str] | IO[bytes]) -> Format:
    if not isinstance(target, (str, os.PathLike)):
        raise ValueError("a file that is open already needs a format")  # noqa: TRY004 - of value
    suffix = Path(target).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{os.fspath(target)!r} ends in none of {', '.join(SUFFIXES)}: say the format"
        )
    return SUFFIXES[suffix]
