//! Columns of numbers as bytes, and back.

use nanospan_format::Columns;
use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};

/// The rows from `start` to before `stop`, as far as there are any.
pub fn part(columns: &Columns, start: usize, stop: usize) -> Columns {
    Columns {
        ends: within(&columns.ends, start, stop).to_vec(),
        durations: within(&columns.durations, start, stop).to_vec(),
        outcomes: within(&columns.outcomes, start, stop).to_vec(),
    }
}

/// As [`part`], of one column.
pub fn within<T>(column: &[T], start: usize, stop: usize) -> &[T] {
    let stop = stop.min(column.len());
    column.get(start..stop).unwrap_or_default()
}

/// A column of `rows` values, or an error if it is longer or shorter.
pub fn column<T, const N: usize>(
    name: &str,
    bytes: &[u8],
    value: impl Fn([u8; N]) -> T,
    rows: usize,
) -> PyResult<Vec<T>> {
    must_be(name, rows, N, bytes.len())?;
    let (values, _) = bytes.as_chunks();
    Ok(values.iter().map(|bytes| value(*bytes)).collect())
}

/// Checks the length of a column of `rows` values.
pub fn must_be(name: &str, rows: usize, width: usize, bytes: usize) -> PyResult<()> {
    if rows * width == bytes {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{name} must be a column of {rows} values of {width} bytes, got {bytes} bytes"
    )))
}

/// A column as bytes.
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
