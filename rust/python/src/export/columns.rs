//! Converts columns of numbers to bytes and back.

use nanospan_fallible::{OutOfMemory, TryCollect, copied};
use nanospan_format::Columns;
use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};

use crate::error::Fallible;

/// Copies the rows `start..stop` of all columns. Rows that do not exist are left out.
pub fn part(columns: &Columns, start: usize, stop: usize) -> Result<Columns, OutOfMemory> {
    Ok(Columns {
        ends: copied(within(&columns.ends, start, stop))?,
        durations: copied(within(&columns.durations, start, stop))?,
        outcomes: copied(within(&columns.outcomes, start, stop))?,
    })
}

/// Returns the rows `start..stop` of one column. Rows that do not exist are left out.
pub fn within<T>(column: &[T], start: usize, stop: usize) -> &[T] {
    let stop = stop.min(column.len());
    column.get(start..stop).unwrap_or_default()
}

/// Decodes `bytes` as a column of values of `N` bytes each; fails unless there are exactly `rows` values.
/// `name` identifies the column in error messages.
pub fn column<T, const N: usize>(
    name: &str,
    bytes: &[u8],
    value: impl Fn([u8; N]) -> T,
    rows: usize,
) -> Fallible<Vec<T>> {
    must_be(name, rows, N, bytes.len())?;
    let (values, _) = bytes.as_chunks();
    Ok(values.iter().map(|bytes| value(*bytes)).try_vec()?)
}

/// Returns a ValueError unless `bytes` is the length of a column of `rows` values of `width` bytes each.
pub fn must_be(name: &str, rows: usize, width: usize, bytes: usize) -> PyResult<()> {
    if rows * width == bytes {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{name} must be a column of {rows} values of {width} bytes each, got {bytes} bytes"
    )))
}

/// Encodes a column as bytes; `bytes_of` encodes one value.
pub fn bytes<'py, T: Copy, const N: usize>(
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
