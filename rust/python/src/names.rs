//! Operation names. Any non-empty `str` is valid, even one with lone surrogates.

use std::borrow::Cow;

use nanospan_fallible::copied;
use nanospan_format::names::{escape, unescape};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    intern,
    prelude::*,
    types::{PyBytes, PyString},
};

use crate::{
    arguments::type_name,
    error::{Fallible, memory_error},
    hot::objects,
};

/// Returns `name` as a string, or an error if it is not a valid operation name.
pub fn check<'a, 'py>(name: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyString>> {
    let name = name.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!(
            "an operation's name must be a str, got {}",
            type_name(name)
        ))
    })?;
    if name.is_empty()? {
        return Err(PyValueError::new_err(
            "an operation's name must be a non-empty str, got ''",
        ));
    }
    Ok(name)
}

/// Encodes `name` as the bytes by which the recording core identifies the operation: UTF-8, with lone surrogates
/// encoded as if they were characters.
pub fn key<'a>(name: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(text) = name.to_str() {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    let encoded = name.call_method1(intern!(name.py(), "encode"), ("utf-8", "surrogatepass"))?;
    let copy = copied(encoded.cast::<PyBytes>()?.as_bytes()).map_err(memory_error)?;
    Ok(Cow::Owned(copy))
}

/// Decodes an operation name that [`key`] encoded.
pub fn from_key<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    objects::decoded(py, bytes)
}

/// Return a name as text that UTF-8 can encode; different names have different texts.
///
/// A lone surrogate becomes an escape sequence such as ``\\ud800``. Backslashes directly before a lone surrogate, or
/// before what looks like the rest of such a sequence, are doubled. All other names are returned unchanged.
#[pyfunction]
pub fn escape_name<'py>(name: &Bound<'py, PyString>) -> Fallible<Bound<'py, PyString>> {
    let key = key(name)?;
    Ok(match escape(&key)? {
        Cow::Borrowed(_) => name.clone(),
        Cow::Owned(text) => objects::text(name.py(), &text)?,
    })
}

/// Return the name for which ``escape_name`` returned ``text``.
#[pyfunction]
pub fn unescape_name<'py>(py: Python<'py>, text: &str) -> Fallible<Bound<'py, PyString>> {
    Ok(from_key(py, &unescape(text)?)?)
}

/// Returns `name`, converted to an exact `str` if it is an instance of a subclass, because a subclass may override
/// `__eq__` and `__hash__`.
pub fn exact<'py>(name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
    if name.is_exact_instance_of::<PyString>() {
        return Ok(name.clone().into_any());
    }
    let str_type = name.py().get_type::<PyString>();
    str_type.call_method1(intern!(name.py(), "__str__"), (name,))
}
