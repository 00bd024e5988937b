"""Write JSON lines and CSV files, one row per sample or one row per operation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import IO, TYPE_CHECKING

from nanospan._core import escape_name
from nanospan.export.safe_json import to_json
from nanospan.export.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanospan._core import Samples
    from nanospan.values.recordings import RecordedOperation, Recording

SAMPLE_FIELDS = ("operation", "timestamp", "duration", "outcome", "metadata")

SPECIAL = frozenset('",\r\n')
"""Characters that require a CSV field to be quoted."""

CHUNK_ROWS = 65_536
"""Number of samples to encode at a time; the encoded text takes a few megabytes."""


@dataclass(frozen=True, slots=True)
class _Row:
    """The row format for one operation's samples.

    Attributes:
        pieces: Five texts: those to write before the timestamp, before the duration, before the
            outcome and before the metadata, and the one to write after the metadata.
        untimed: The texts to write before and after the duration of a sample whose timestamp and
            outcome are unknown.
        nothing: The text to write in place of missing metadata.
        quoted: Whether to quote metadata as a CSV field.
    """

    pieces: list[bytes]
    untimed: tuple[bytes, bytes]
    nothing: bytes
    quoted: bool


def write_jsonl(recording: Recording, file: IO[bytes], *, samples: bool) -> None:
    """Write JSON lines: one object per sample, or one per operation if ``samples`` is False."""
    for recorded in recording.operations:
        if not samples:
            file.write(to_json(figures_of(recorded)) + b"\n")
            continue
        begin = b'{"operation":' + to_json(escape_name(recorded.operation)) + b',"timestamp":'
        row = _Row(
            pieces=[begin, b',"duration":', b',"outcome":"', b'","metadata":', b"}\n"],
            untimed=(begin + b'null,"duration":', b',"outcome":null,"metadata":{}}\n'),
            nothing=b"{}",
            quoted=False,
        )
        _write_samples(recorded.samples(), file, row)


def write_csv(recording: Recording, file: IO[bytes], *, samples: bool) -> None:
    """Write CSV: a header, then one row per sample, or one per operation if ``samples`` is False.

    The format follows RFC 4180, except that lines end in a line feed.
    """
    names = SAMPLE_FIELDS if samples else [field.name for field in fields(Summary)]
    file.write(_csv_line(names))
    for recorded in recording.operations:
        if not samples:
            file.write(_csv_line(list(figures_of(recorded).values())))
            continue
        begin = _csv_line([escape_name(recorded.operation), ""]).removesuffix(b"\n")
        row = _Row(
            pieces=[begin, b",", b",", b",", b"\n"],
            untimed=(begin + b",", b",,\n"),
            nothing=b"",
            quoted=True,
        )
        _write_samples(recorded.samples(), file, row)


def _write_samples(samples: Samples | None, file: IO[bytes], row: _Row) -> None:
    if samples is None:
        return
    for start in range(0, len(samples), CHUNK_ROWS):
        chunk = samples.slice(start, start + CHUNK_ROWS)
        if chunk.timed:
            file.write(chunk.table_rows(row.pieces, row.nothing, row.quoted, to_json))
        else:
            before, after = (piece.decode() for piece in row.untimed)
            durations = memoryview(chunk.durations).cast("d")
            file.write("".join(f"{before}{each!r}{after}" for each in durations).encode())


def figures_of(recorded: RecordedOperation) -> dict[str, object]:
    """Return the columns of an operation's row."""
    return asdict(summarise(recorded)) | {"operation": escape_name(recorded.operation)}


def _csv_line(values: Sequence[object]) -> bytes:
    return ",".join(map(_csv_field, values)).encode("utf-8") + b"\n"


def _csv_field(value: object) -> str:
    # The csv module does not quote a carriage return if lines end in a line feed.
    text = "" if value is None else str(value)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & SPECIAL else text
