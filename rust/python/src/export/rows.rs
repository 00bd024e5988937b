//! Samples as text, written with the GIL released; see `nanospan.export`.
//!
//! Columns come and go as bytes: ends as native `uint64` nanoseconds of Unix time, durations as native
//! `float64` seconds, outcomes as `uint8`, lanes as native `uint32`.

use nanospan_format::{
    columns::{Columns, EventRow, Lanes, TableRow},
    scatter::{Extent, Grid},
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    pybacked::PyBackedBytes,
    types::{PyBytes, PyDict},
};

type ColumnBytes = (PyBackedBytes, PyBackedBytes, PyBackedBytes);
type Attached = Vec<Option<PyBackedBytes>>;

/// Metadata by row; empty if no row has any.
pub type Metadata<'py> = Vec<Option<Bound<'py, PyDict>>>;

/// What `Operation._columns` returns: ends, durations, outcomes and metadata.
pub type ExportedColumns<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Metadata<'py>,
);

pub fn export<'py>(
    py: Python<'py>,
    columns: &Columns,
    metadata: Metadata<'py>,
) -> PyResult<ExportedColumns<'py>> {
    Ok((
        bytes(py, &columns.ends, u64::to_ne_bytes)?,
        bytes(py, &columns.durations, f64::to_ne_bytes)?,
        PyBytes::new(py, &columns.outcomes),
        metadata,
    ))
}

/// Rows of a table: see `TableRow` in the core.
#[pyfunction]
pub fn table_rows<'py>(
    py: Python<'py>,
    columns: ColumnBytes,
    attached: Attached,
    pieces: [PyBackedBytes; 5],
    nothing: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    let text = py.detach(|| {
        let row = TableRow {
            pieces: pieces.each_ref().map(|piece| &**piece),
            nothing: &nothing,
        };
        Ok::<_, PyErr>(row.write(&import(&columns)?, &attached))
    })?;
    Ok(PyBytes::new(py, &text))
}

/// When each sample began, and its lane: see `Lanes` in the core.
#[pyfunction]
pub fn lanes<'py>(
    py: Python<'py>,
    columns: ColumnBytes,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let placed = py.detach(|| {
        let columns = import(&columns)?;
        Ok::<_, PyErr>(Lanes::of(&columns.ends, &columns.durations))
    })?;
    Ok((
        bytes(py, &placed.starts, u64::to_ne_bytes)?,
        bytes(py, &placed.lanes, u32::to_ne_bytes)?,
    ))
}

/// Rows of a time line: see `EventRow` in the core.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the fields of EventRow")]
pub fn event_rows<'py>(
    py: Python<'py>,
    columns: ColumnBytes,
    placed: (PyBackedBytes, PyBackedBytes),
    attached: Attached,
    heads: [[PyBackedBytes; 2]; 3],
    threshold: f64,
    origin: u64,
    thread: u32,
) -> PyResult<Bound<'py, PyBytes>> {
    let text = py.detach(|| {
        let columns = import(&columns)?;
        let lanes = Lanes {
            starts: column(&placed.0, u64::from_ne_bytes, columns.ends.len())?,
            lanes: column(&placed.1, u32::from_ne_bytes, columns.ends.len())?,
        };
        let row = EventRow {
            heads: heads
                .each_ref()
                .map(|pair| pair.each_ref().map(|head| &**head)),
            threshold,
            origin,
            thread,
        };
        Ok::<_, PyErr>(row.write(&columns, &lanes, &attached))
    })?;
    Ok(PyBytes::new(py, &text))
}

/// First and last end, shortest duration over 0 and longest: see `Extent` in the core.
#[pyfunction]
pub fn extent(py: Python<'_>, columns: ColumnBytes) -> PyResult<Option<([u64; 2], [f64; 2])>> {
    py.detach(|| {
        let extent = Extent::of(&import(&columns)?);
        Ok(extent.map(|extent| (extent.ends, extent.durations)))
    })
}

/// The pixels of each outcome's samples: see `Grid` in the core.
#[pyfunction]
pub fn pixels(
    py: Python<'_>,
    columns: ColumnBytes,
    size: [usize; 2],
    ends: [u64; 2],
    durations: [f64; 2],
) -> PyResult<[Vec<(usize, usize)>; 3]> {
    let grid = Grid {
        size,
        ends,
        durations,
    };
    py.detach(|| Ok(grid.pixels(&import(&columns)?)))
}

fn import((ends, durations, outcomes): &ColumnBytes) -> PyResult<Columns> {
    let rows = outcomes.len();
    Ok(Columns {
        ends: column(ends, u64::from_ne_bytes, rows)?,
        durations: column(durations, f64::from_ne_bytes, rows)?,
        outcomes: outcomes.to_vec(),
    })
}

/// A column of `rows` values, or an error if it is longer or shorter.
fn column<T, const N: usize>(
    bytes: &[u8],
    value: impl Fn([u8; N]) -> T,
    rows: usize,
) -> PyResult<Vec<T>> {
    let (values, rest) = bytes.as_chunks();
    if values.len() != rows || !rest.is_empty() {
        let got = bytes.len();
        let message = format!("a column of {rows} values of {N} bytes, got {got} bytes");
        return Err(PyValueError::new_err(message));
    }
    Ok(values.iter().map(|bytes| value(*bytes)).collect())
}

fn bytes<'py, T: Copy, const N: usize>(
    py: Python<'py>,
    column: &[T],
    bytes_of: impl Fn(T) -> [u8; N],
) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, column.len() * N, |out| {
        for (place, &value) in out.as_chunks_mut().0.iter_mut().zip(column) {
            *place = bytes_of(value);
        }
        Ok(())
    })
}
