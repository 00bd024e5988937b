//! Determines the outcome and the metadata to record for a tracked execution.

use nanospan_record::Outcome;
use pyo3::{
    exceptions::PyException,
    intern,
    prelude::*,
    types::{PyDict, PyString, PyType},
};

use crate::arguments::type_name;

/// Returns the outcome of an execution that was ended by an exception of the class `class`.
///
/// A subclass of `Exception` counts as an error. Any other exception (cancellation, Ctrl-C, the closing of a generator,
/// program exit) counts as cancelled, because it does not mean that the execution failed.
pub fn of_exception(class: &Bound<'_, PyAny>) -> PyResult<Outcome> {
    let class = class.cast::<PyType>()?;
    Ok(if class.is_subclass_of::<PyException>()? {
        Outcome::Error
    } else {
        Outcome::Cancelled
    })
}

/// Returns the metadata to keep with a sample, or `None` if there is none.
///
/// It is a copy of the caller's metadata (`given`), updated with the metadata added during the execution (`added`).
/// An `error` entry with the text of `exception` is added for an error, and an `outcome` entry for a cancelled
/// execution.
pub fn metadata<'py>(
    py: Python<'py>,
    given: Option<&Bound<'py, PyDict>>,
    added: Option<&Bound<'py, PyDict>>,
    outcome: Outcome,
    exception: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let metadata = match given {
        Some(given) => given.copy()?,
        None => PyDict::new(py),
    };
    if let Some(added) = added {
        metadata.update(added.as_mapping())?;
    }
    match (outcome, exception) {
        (Outcome::Error, Some(exception)) => {
            metadata.set_item(intern!(py, "error"), text_of(exception))?;
        }
        (Outcome::Cancelled, _) => {
            metadata.set_item(intern!(py, "outcome"), intern!(py, "cancelled"))?;
        }
        _ => {}
    }
    Ok((!metadata.is_empty()).then_some(metadata))
}

/// Returns `str(value)`, or a placeholder that names the value's type if `str` raises an exception.
pub fn text_of<'py>(value: &Bound<'py, PyAny>) -> Bound<'py, PyString> {
    value.str().unwrap_or_else(|_| {
        let text = format!("<{} without text>", type_name(value));
        PyString::new(value.py(), &text)
    })
}
