"""Write Parquet files with pyarrow, one row per sample or one row per operation."""

from __future__ import annotations

from dataclasses import fields
from typing import IO, TYPE_CHECKING, Any

from nanospan._core import OUTCOMES, escape_name
from nanospan.export.safe_json import to_json
from nanospan.export.summary import Summary
from nanospan.export.tables import CHUNK_ROWS, figures_of
from nanospan.values.extras import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    import pyarrow as pa

    from nanospan.values.recordings import Recording

ROW_GROUP_ROWS = 262_144
"""Minimum number of rows in a row group, except the last; readers process groups in parallel."""

INSTALL = f"Parquet {needs('pyarrow', 'arrow')}"


def write_parquet(recording: Recording, file: IO[bytes], *, samples: bool) -> None:
    """Write a recording as Parquet.

    Operation names are strings, timestamps are in UTC, and metadata is JSON text.

    Args:
        recording: The recording to write.
        file: The file to write to.
        samples: Whether to write one row per sample rather than one row per operation.

    Raises:
        ModuleNotFoundError: If pyarrow is not installed.
    """
    try:
        import pyarrow as arrow  # noqa: ICN001, PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(INSTALL, name="pyarrow") from missing
    if samples:
        schema, batches = _sample_schema(arrow), _sample_batches(arrow, recording)
    else:
        schema, batches = _summary_schema(arrow), _summary_batches(arrow, recording)
    waiting: list[pa.RecordBatch] = []
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            waiting.append(batch)
            if sum(each.num_rows for each in waiting) >= ROW_GROUP_ROWS:
                writer.write_table(arrow.Table.from_batches(waiting, schema))
                waiting = []
        writer.write_table(arrow.Table.from_batches(waiting, schema))


def _sample_schema(arrow: ModuleType) -> pa.Schema:
    return arrow.schema(
        [
            arrow.field("operation", arrow.string(), nullable=False),
            arrow.field("timestamp", arrow.timestamp("ns", tz="UTC")),
            arrow.field("duration", arrow.float64(), nullable=False),
            arrow.field("outcome", arrow.string()),
            arrow.field("metadata", arrow.string()),
        ]
    )


def _summary_schema(arrow: ModuleType) -> pa.Schema:
    types = {"str": arrow.string(), "int": arrow.int64(), "float": arrow.float64()}
    # Field types are annotation strings such as "int | None".
    kinds = {each.name: str(each.type).removesuffix(" | None") for each in fields(Summary)}
    return arrow.schema([arrow.field(name, types[kind]) for name, kind in kinds.items()])


def _sample_batches(arrow: ModuleType, recording: Recording) -> Iterator[pa.RecordBatch]:
    schema = _sample_schema(arrow)
    for recorded in recording.operations:
        samples = recorded.samples()
        if samples is None:
            continue
        for start in range(0, len(samples), CHUNK_ROWS):
            chunk = samples.slice(start, start + CHUNK_ROWS)
            rows = len(chunk)
            columns = [
                arrow.repeat(arrow.scalar(escape_name(recorded.operation)), rows),
                _native(arrow, chunk.ends, schema.field("timestamp").type, rows),
                _native(arrow, chunk.durations, arrow.float64(), rows),
                _outcomes(arrow, chunk.outcomes, rows),
                arrow.array(chunk.metadata_json(to_json) or [None] * rows, arrow.string()),
            ]
            yield arrow.RecordBatch.from_arrays(columns, schema=schema)


def _summary_batches(arrow: ModuleType, recording: Recording) -> Iterator[pa.RecordBatch]:
    rows = [figures_of(recorded) for recorded in recording.operations]
    yield arrow.RecordBatch.from_pylist(rows, schema=_summary_schema(arrow))


def _native(arrow: ModuleType, column: bytes | None, kind: Any, rows: int) -> pa.Array:
    """Convert ``column``, bytes in Arrow's format, to an array; if it is None, return nulls."""
    if column is None:
        return arrow.nulls(rows, kind)
    return arrow.Array.from_buffers(kind, rows, [None, arrow.py_buffer(column)])


def _outcomes(arrow: ModuleType, column: bytes | None, rows: int) -> pa.Array:
    if column is None:
        return arrow.nulls(rows, arrow.string())
    numbers = _native(arrow, column, arrow.int8(), rows)
    return arrow.DictionaryArray.from_arrays(numbers, list(OUTCOMES)).dictionary_decode()
