//! Checks and converts arguments passed from Python.

use nanospan_fallible::{TryGrow, vec};
use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyInt, PyString},
};

use crate::{error::Fallible, messages::shown};

/// Returns the name of a value's type, for error messages.
pub fn type_name(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().name();
    name.map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

/// Converts a sequence to a vector; `convert` converts an item. PyO3's own conversion would end the process if there is
/// no memory for the vector.
pub fn sequence<'py, T>(
    given: &Bound<'py, PyAny>,
    mut convert: impl FnMut(Bound<'py, PyAny>) -> Fallible<T>,
) -> Fallible<Vec<T>> {
    if given.is_instance_of::<PyString>() {
        let message = "expected a sequence of values, got str";
        return Err(PyTypeError::new_err(message).into());
    }
    let mut items = vec(given.len()?)?;
    for item in given.try_iter()? {
        items.try_push(convert(item?)?)?;
    }
    Ok(items)
}

/// Converts a number of seconds to a float. `asked` returns the argument's description for error messages.
pub fn number(value: &Bound<'_, PyAny>, asked: impl FnOnce() -> String) -> PyResult<f64> {
    let py = value.py();
    value.extract::<f64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(py) {
            PyValueError::new_err(format!(
                "{} must fit in a float, got an int that is too large",
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

/// Converts a `success` argument to a bool. Accepts a bool or an int, because some callers pass 0 or 1.
pub fn truth(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyInt>() {
        return value.is_truthy();
    }
    value.extract().map_err(|_| {
        PyTypeError::new_err(format!("success must be a bool, got {}", type_name(value)))
    })
}

/// Converts the argument `name` to a `usize`: TypeError if it is not an int, ValueError if it is negative or too large.
pub fn whole_number(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    value.extract::<usize>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            PyValueError::new_err(format!(
                "{name} must be a non-negative int of at most 64 bits, got {}",
                shown(value)
            ))
        } else {
            PyTypeError::new_err(format!("{name} must be an int, got {}", type_name(value)))
        }
    })
}
