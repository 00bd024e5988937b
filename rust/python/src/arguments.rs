//! Arguments that Python code gives, checked and converted.

use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyValueError},
    prelude::*,
    types::PyInt,
};

/// The name of a value's type, for errors.
pub fn type_name(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().name();
    name.map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

/// A duration as a float; `asked` says what for, in an error.
pub fn number(value: &Bound<'_, PyAny>, asked: impl FnOnce() -> String) -> PyResult<f64> {
    let py = value.py();
    value.extract::<f64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(py) {
            PyValueError::new_err(format!(
                "{} must fit into a float, got a larger int",
                asked()
            ))
        } else if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(format!(
                "{} must be a number of seconds, got {}",
                asked(),
                type_name(value)
            ))
        } else {
            error
        }
    })
}

/// Success as a bool, or as the 0 or 1 that some callers have for it.
pub fn truth(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyInt>() {
        return value.is_truthy();
    }
    value.extract().map_err(|_| {
        PyTypeError::new_err(format!("success must be a bool, got {}", type_name(value)))
    })
}

/// An argument that must be an int of at least 0. One that does not fit is a ValueError, as any out of range.
pub fn whole_number(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    value.extract::<usize>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            PyValueError::new_err(format!("{name} must fit into 64 bits, got {value}"))
        } else {
            PyTypeError::new_err(format!("{name} must be an int, got {}", type_name(value)))
        }
    })
}
