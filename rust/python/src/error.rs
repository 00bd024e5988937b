//! Converts errors from the Rust crates to Python exceptions. No other module does this.

use nanospan_record::Error;
use pyo3::{
    PyErr,
    exceptions::{PyMemoryError, PyValueError},
};

/// Returns the Python exception for `error`. Its message starts with `asked`, the call or argument that failed.
pub fn to_python(asked: &str, error: &Error) -> PyErr {
    let text = format!("{asked}: {error}");
    match error {
        Error::OutOfMemory(_) => PyMemoryError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

/// Returns a ValueError for an error of any type other than [`Error`]. Its message starts with `asked`, the argument
/// that was rejected.
pub fn to_value_error(asked: &str, error: &impl std::error::Error) -> PyErr {
    PyValueError::new_err(format!("{asked}: {error}"))
}
