//! Creates Python objects. If there is no memory for one, these functions return a `MemoryError`, where PyO3's
//! constructors panic.

use pyo3::{
    ffi,
    prelude::*,
    types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

/// Converts the new reference that a function of the C API returned; NULL means that the Python error is set.
///
/// # Safety
///
/// `object` must be an owned reference to a `T`, or NULL.
unsafe fn new<T>(py: Python<'_>, object: *mut ffi::PyObject) -> PyResult<Bound<'_, T>> {
    // SAFETY: promised by the caller.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked()) }
}

/// Creates an empty dict.
pub fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: the result is a new dict or NULL.
    unsafe { new(py, ffi::PyDict_New()) }
}

/// Creates a float.
pub fn float(py: Python<'_>, value: f64) -> PyResult<Bound<'_, PyFloat>> {
    // SAFETY: the result is a new float or NULL.
    unsafe { new(py, ffi::PyFloat_FromDouble(value)) }
}

/// Creates an int.
pub fn int(py: Python<'_>, value: u64) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: the result is a new int or NULL.
    unsafe { new(py, ffi::PyLong_FromUnsignedLongLong(value)) }
}

/// Creates an int that may be negative.
pub fn signed_int(py: Python<'_>, value: i64) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: the result is a new int or NULL.
    unsafe { new(py, ffi::PyLong_FromLongLong(value)) }
}

/// Creates a bytes object with a copy of `bytes`.
pub fn bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, bytes.len(), |copy| {
        copy.copy_from_slice(bytes);
        Ok(())
    })
}

/// Creates a string.
pub fn text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, text.as_bytes())
}

/// Decodes UTF-8 in which lone surrogates are encoded as if they were characters.
pub fn decoded<'py>(py: Python<'py>, utf8: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: the pointer and the length are those of a slice, and the result is a new string or NULL.
    unsafe {
        let decoded = ffi::PyUnicode_DecodeUTF8(
            utf8.as_ptr().cast(),
            utf8.len().cast_signed(),
            c"surrogatepass".as_ptr(),
        );
        new(py, decoded)
    }
}

/// Creates a list of the items that an iterator yields, or returns its first error.
pub fn list<'py, T, E: From<PyErr>>(
    py: Python<'py>,
    items: impl IntoIterator<Item = Result<Bound<'py, T>, E>>,
) -> Result<Bound<'py, PyList>, E> {
    // SAFETY: the result is a new list or NULL.
    let list: Bound<'_, PyList> = unsafe { new(py, ffi::PyList_New(0))? };
    for item in items {
        let item = item?;
        // SAFETY: the first object is a list, and both are valid.
        if unsafe { ffi::PyList_Append(list.as_ptr(), item.as_ptr()) } != 0 {
            return Err(PyErr::fetch(py).into());
        }
    }
    Ok(list)
}

/// Creates a tuple.
pub fn tuple<'py, const N: usize>(
    py: Python<'py>,
    items: [Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyTuple>> {
    // SAFETY: the result is a new tuple or NULL. Each place is filled once, with an owned reference, before any other
    // code can see the tuple.
    unsafe {
        let tuple: Bound<'_, PyTuple> = new(py, ffi::PyTuple_New(N.cast_signed()))?;
        for (place, item) in items.into_iter().enumerate() {
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), place.cast_signed(), item.into_ptr());
        }
        Ok(tuple)
    }
}

/// Returns the values of a dict as a list.
pub fn values<'py>(dict: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: the object is a dict, and the result is a new list or NULL.
    unsafe { new(dict.py(), ffi::PyDict_Values(dict.as_ptr())) }
}
