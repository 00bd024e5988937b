//! Converts errors from the Rust crates to Python exceptions. No other module does this.

use nanospan_fallible::{OutOfMemory, formatted};
use nanospan_record::Error;
use pyo3::{
    PyErr,
    exceptions::{PyMemoryError, PyValueError},
};

/// The error of a function that Python calls: a Python exception, or a lack of memory, which becomes one.
#[derive(Debug)]
pub enum Failure {
    /// A Python exception.
    Raised(PyErr),
    /// There is no memory; it becomes a `MemoryError`.
    OutOfMemory(OutOfMemory),
}

/// The result of a function that Python calls.
pub type Fallible<T> = Result<T, Failure>;

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl From<OutOfMemory> for Failure {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Raised(error) => error,
            Failure::OutOfMemory(error) => memory_error(error),
        }
    }
}

/// Returns the Python exception for a lack of memory.
pub fn memory_error(error: OutOfMemory) -> PyErr {
    match formatted(format_args!("{error}")) {
        Ok(text) => PyMemoryError::new_err(text),
        Err(_) => PyMemoryError::new_err(()),
    }
}

/// Returns the Python exception for `error`. Its message starts with `asked`, the call or argument that failed.
pub fn to_python(asked: &str, error: &Error) -> PyErr {
    match error {
        Error::OutOfMemory(error) => memory_error(*error),
        Error::NoBlock(_) => PyMemoryError::new_err(format!("{asked}: {error}")),
        _ => PyValueError::new_err(format!("{asked}: {error}")),
    }
}

/// Returns the Python exception for an encoder option that was rejected. Its message starts with `asked`, the argument.
pub fn of_options(asked: &str, error: nanospan_format::Error) -> PyErr {
    match error {
        nanospan_format::Error::OutOfMemory(error) => memory_error(error),
        _ => PyValueError::new_err(format!("{asked}: {error}")),
    }
}

/// Returns the Python exception for values that could not be gathered. Its message starts with `asked`, the argument.
pub fn of_values(asked: &str, error: nanospan_stats::ValuesError) -> Failure {
    match error {
        nanospan_stats::ValuesError::OutOfMemory(error) => error.into(),
        nanospan_stats::ValuesError::NotFinite(refused) => {
            PyValueError::new_err(format!("{asked}: {refused}")).into()
        }
    }
}
