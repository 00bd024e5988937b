//! Arguments that Python code gives, checked and converted.

use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyValueError},
    prelude::*,
    types::PyInt,
};

/// A duration as a float; `asked` says what for, in an error.
pub fn number(value: &Bound<'_, PyAny>, asked: impl FnOnce() -> String) -> PyResult<f64> {
    let py = value.py();
    value.extract::<f64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(py) {
            PyValueError::new_err(format!("{}: an int too large for a float", asked()))
        } else if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(format!("{}: seconds, got {}", asked(), value.get_type()))
        } else {
            error
        }
    })
}

/// Success as a bool, or as the 0 or 1 that other code has for it.
pub fn truth(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyInt>() {
        return value.is_truthy();
    }
    value
        .extract()
        .map_err(|_| PyTypeError::new_err(format!("success is a bool, got {}", value.get_type())))
}

/// An integer argument. One that does not fit is as far out of range as any.
pub fn whole_number(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    value.extract::<usize>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            PyValueError::new_err(format!("{name} is out of range: {value}"))
        } else {
            PyTypeError::new_err(format!("{name} is an int, got {}", value.get_type()))
        }
    })
}
