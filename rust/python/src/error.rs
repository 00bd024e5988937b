//! Core errors as Python exceptions: the only place that maps them.

use nanospan_core::Error;
use pyo3::{
    PyErr,
    exceptions::{PyMemoryError, PyValueError},
};

/// The Python exception for `error`, its text led by what was being asked for.
pub fn to_python(asked: &str, error: &Error) -> PyErr {
    let text = format!("{asked}: {error}");
    match error {
        Error::OutOfMemory(_) => PyMemoryError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}
