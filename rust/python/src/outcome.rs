//! What an exception that leaves a tracked execution says about it.

use nanospan_record::Outcome;
use pyo3::{
    exceptions::PyException,
    intern,
    prelude::*,
    types::{PyDict, PyString, PyType},
};

use crate::arguments::type_name;

/// The outcome of an execution that an exception of class `class` left.
///
/// `Exception`s are errors. What else derives from `BaseException` (cancellations, Ctrl-C, the
/// closing of a generator, the end of the program) says nothing about the execution.
pub fn of_exception(class: &Bound<'_, PyAny>) -> PyResult<Outcome> {
    let class = class.cast::<PyType>()?;
    Ok(if class.is_subclass_of::<PyException>()? {
        Outcome::Error
    } else {
        Outcome::Cancelled
    })
}

/// The metadata to keep: a copy of the caller's, what was added, and what the outcome adds.
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

/// `str(value)`, or the name of its type if that raises.
pub fn text_of<'py>(value: &Bound<'py, PyAny>) -> Bound<'py, PyString> {
    value.str().unwrap_or_else(|_| {
        let text = format!("<{} without text>", type_name(value));
        PyString::new(value.py(), &text)
    })
}
