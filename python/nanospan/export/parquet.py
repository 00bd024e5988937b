"""Write Parquet files with pyarrow, one row per sample or one row per operation."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, fields
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

    from nanospan._core import Samples
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
    rows = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= ROW_GROUP_ROWS:
                writer.write_table(arrow.Table.from_batches(waiting, schema))
                waiting, rows = [], 0
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
    pending = _Pending()
    for recorded in recording.operations:
        samples = recorded.samples()
        if samples is None:
            continue
        for start in range(0, len(samples), CHUNK_ROWS):
            chunk = samples.slice(start, start + CHUNK_ROWS)
            if pending.rows and (pending.timed != chunk.timed or pending.rows >= CHUNK_ROWS):
                yield pending.batch(arrow)
                pending = _Pending()
            pending.add(escape_name(recorded.operation), chunk)
    if pending.rows:
        yield pending.batch(arrow)


@dataclass(slots=True)
class _Pending:
    """Samples of one or more operations that will form a record batch.

    Arrow takes a tenth of a millisecond to create a batch, however few rows it has, so operations
    with few samples share one. Either all samples have an end time and an outcome, or none has.
    """

    timed: bool = False
    rows: int = 0
    names: list[str] = field(default_factory=list)
    places: array[int] = field(default_factory=lambda: array("i"))
    ends: list[bytes] = field(default_factory=list)
    durations: list[bytes] = field(default_factory=list)
    outcomes: list[bytes] = field(default_factory=list)
    metadata: list[bytes | None] = field(default_factory=list)

    def add(self, operation: str, chunk: Samples) -> None:
        rows = len(chunk)
        self.places.extend(array("i", [len(self.names)]) * rows)
        self.names.append(operation)
        self.timed = chunk.timed
        self.ends.append(chunk.ends or b"")
        self.durations.append(chunk.durations)
        self.outcomes.append(chunk.outcomes or b"")
        self.metadata.extend(chunk.metadata_json(to_json) or [None] * rows)
        self.rows += rows

    def batch(self, arrow: ModuleType) -> pa.RecordBatch:
        schema, rows = _sample_schema(arrow), self.rows
        places = _native(arrow, self.places.tobytes(), arrow.int32(), rows)
        ends = b"".join(self.ends) if self.timed else None
        columns = [
            arrow.DictionaryArray.from_arrays(places, self.names).dictionary_decode(),
            _native(arrow, ends, schema.field("timestamp").type, rows),
            _native(arrow, b"".join(self.durations), arrow.float64(), rows),
            _outcomes(arrow, b"".join(self.outcomes) if self.timed else None, rows),
            arrow.array(self.metadata, arrow.string()),
        ]
        return arrow.RecordBatch.from_arrays(columns, schema=schema)


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
