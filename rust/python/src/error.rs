//! Core errors as Python exceptions: the only place that maps them.

use nanospan_record::Error;
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

/// A ValueError for any other rejected argument, its text led by what was being asked for.
pub fn to_value_error(asked: &str, error: &impl std::error::Error) -> PyErr {
    PyValueError::new_err(format!("{asked}: {error}"))
}
