"""Write recordings to files: JSON lines, CSV, Parquet or Chrome trace-event JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from nanospan.export.parquet import write_parquet
from nanospan.export.tables import write_csv, write_jsonl
from nanospan.export.timeline import write_trace
from nanospan.values.files import replacing
from nanospan.values.messages import shown
from nanospan.values.recordings import record_of
from nanospan.values.whole_writes import whole_writes

if TYPE_CHECKING:
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
"""Default file formats, keyed by file name suffix."""


class WriteTable(Protocol):
    """A function that writes a recording in a row-based format."""

    def __call__(self, recording: Recording, file: IO[bytes], *, samples: bool) -> None:
        """Write one row per sample, or one row per operation if ``samples`` is False."""


TABLES: dict[str, WriteTable] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}


def write(
    source: Recordable,
    target: str | os.PathLike[str] | IO[bytes],
    format: Format | None = None,  # noqa: A002 - the plain word for it
    content: Content = "samples",
) -> None:
    """Write a monitor's data, or another recording, to a file.

    ```python
    write(monitor, "samples.parquet")
    write(monitor, "summaries.csv", content="summaries")
    write(monitor, "trace.json")  # open it at https://ui.perfetto.dev
    ```

    This function is thread-safe, and recording continues while it runs. Writing a million samples
    takes a fraction of a second, mostly without the GIL; in a coroutine, call it through
    ``asyncio.to_thread``.

    Args:
        source: A monitor, a monitor's snapshot (which has summaries only) or a recording.
        target: A path or an open binary file. The file at a path is replaced only when the new
            content is on disk, so that readers never see a half-written file.
        format: ``jsonl`` (an object per line), ``csv``, ``parquet`` (needs the ``arrow`` extra) or
            ``trace`` (Chrome trace-event JSON, for Perfetto). By default, the path's suffix
            determines the format: ``.jsonl``, ``.ndjson``, ``.csv``, ``.parquet``, or ``.json`` for
            ``trace``.
        content: ``samples`` writes a row for each sample in the operations' windows, with its end
            time in Unix seconds, duration in seconds, outcome and metadata. ``summaries`` writes a
            row for each operation, with the counts, extremes and quantiles of all its samples
            since it was first recorded or last cleared. ``trace`` supports only ``samples``.

    Raises:
        OSError: If the file cannot be written; an existing file is left unchanged.
        TypeError: If ``source`` is not a monitor, snapshot or recording.
        ValueError: If ``format`` or ``content`` is unknown or the two are incompatible, or
            ``format`` is ``trace`` and there are no samples with timestamps.
        ModuleNotFoundError: If the format needs a package that is not installed.
    """
    chosen = format or _format_of(target)
    if chosen not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {shown(chosen)}")
    if content not in get_args(Content):
        raise ValueError(f"content must be 'samples' or 'summaries', got {shown(content)}")
    if chosen == "trace" and content != "samples":
        raise ValueError(f"content must be 'samples' for format 'trace', got {shown(content)}")
    recording = record_of(source)
    if isinstance(target, (str, os.PathLike)):
        with replacing(target) as file:
            _write(recording, file, chosen, content)
    else:
        with whole_writes(target) as file:
            _write(recording, file, chosen, content)


def _write(recording: Recording, file: IO[bytes], format_: Format, content: Content) -> None:
    if format_ == "trace":
        write_trace(recording, file)
    else:
        TABLES[format_](recording, file, samples=content == "samples")


def _format_of(target: str | os.PathLike[str] | IO[bytes]) -> Format:
    if not isinstance(target, (str, os.PathLike)):
        raise ValueError("format must be given for an open file, got None")  # noqa: TRY004
    suffix = Path(target).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"target must have one of the suffixes {', '.join(SUFFIXES)}, got "
            f"{shown(os.fspath(target))}; use another name or set format"
        )
    return SUFFIXES[suffix]
