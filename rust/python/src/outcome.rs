//! Determines the outcome and the metadata to record for a tracked execution.

use nanospan_fallible::TryGrow;
use nanospan_record::Outcome;
use pyo3::{
    exceptions::{PyBaseException, PyException, PySystemExit},
    intern,
    prelude::*,
    types::{PyDict, PyInt, PyString, PyType},
};

use crate::{
    arguments::{sequence, type_name},
    hot::objects,
};

/// Returns the outcome of an execution that was ended by `exception`, whose class is `class`.
///
/// An `Exception` is an error, and so are an exit with a status other than success and a group, however nested, that
/// contains an error. Anything else (cancellation, Ctrl-C, the closing of a generator, a successful exit) counts as
/// cancelled, because it does not mean that the execution failed.
///
/// The class decides alone if `exception` is `None`, as it may be when `__exit__` is called by hand.
pub fn of_exception(class: &Bound<'_, PyAny>, exception: &Bound<'_, PyAny>) -> PyResult<Outcome> {
    let class = class.cast::<PyType>()?;
    let failed = class.is_subclass_of::<PyException>()? || contains_error(exception);
    Ok(if failed {
        Outcome::Error
    } else {
        Outcome::Cancelled
    })
}

/// Return the outcome of an execution that ended with ``error``: ``"error"`` or ``"cancelled"``.
///
/// An ``Exception`` is an error, and so are a ``SystemExit`` whose code is neither 0 nor None and an exception group,
/// however nested, that contains an error. Any other exception counts as cancelled.
#[pyfunction]
pub fn outcome_of(error: &Bound<'_, PyBaseException>) -> PyResult<&'static str> {
    Ok(of_exception(&error.get_type(), error)?.name())
}

/// How many exceptions in a group are looked at.
const MAX_PARTS: usize = 10_000;

/// Returns whether `exception`, or any exception in it if it is a group, is an error.
fn contains_error(exception: &Bound<'_, PyAny>) -> bool {
    let mut pending = vec![exception.clone()];
    // Bounded, because any exception may have an attribute of this name, and it may lead in a circle.
    for _ in 0..MAX_PARTS {
        let Some(exception) = pending.pop() else {
            break;
        };
        if exception.is_instance_of::<PyException>() || is_failed_exit(&exception) {
            return true;
        }
        // Groups are recognised by their attribute: on Python 3.10 their classes come from various packages.
        if exception.is_instance_of::<PyBaseException>()
            && let Ok(Some(parts)) = exception.getattr_opt(intern!(exception.py(), "exceptions"))
            && let Ok(parts) = sequence(&parts, Ok)
            && pending.try_extend(parts).is_err()
        {
            break;
        }
    }
    false
}

/// Returns whether `exception` is an exit for which the interpreter reports a failure to the shell.
fn is_failed_exit(exception: &Bound<'_, PyAny>) -> bool {
    exception.is_instance_of::<PySystemExit>()
        && !exception
            .getattr(intern!(exception.py(), "code"))
            .is_ok_and(|code| {
                code.is_none() || code.is_instance_of::<PyInt>() && code.eq(0).unwrap_or(false)
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
        None => objects::dict(py)?,
    };
    if let Some(added) = added {
        metadata.update(added.as_mapping())?;
    }
    match (outcome, exception) {
        (Outcome::Error, Some(exception)) => {
            metadata.set_item(intern!(py, "error"), text_of(exception)?)?;
        }
        (Outcome::Cancelled, _) => {
            metadata.set_item(intern!(py, "outcome"), intern!(py, "cancelled"))?;
        }
        _ => {}
    }
    Ok((!metadata.is_empty()).then_some(metadata))
}

/// Returns `str(value)`, or a placeholder that names the value's type if `str` raises an exception.
pub fn text_of<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    value.str().or_else(|_| {
        let text = format!("<{} without text>", type_name(value));
        objects::text(value.py(), &text)
    })
}
