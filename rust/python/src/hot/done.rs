//! What `__aexit__` returns: awaitable, and done before it is awaited.

use std::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{ffi, prelude::*};

use super::{
    raw::{Progress, Receiver, guarded, guarded_send, itself},
    tables::{self, RawType},
};

/// The only instance, made when the module is loaded and never freed.
static DONE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());
static TYPE: RawType = RawType::new();

// Both functions below are called by CPython, attached, with the instance as first argument and what the slot
// promises as the others: that is what the SAFETY arguments refer to.

/// NULL without an exception: the iterator is exhausted, and awaiting it gives None.
unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let done = unsafe { Receiver::<ffi::PyObject>::of(object) };
    guarded(done.py(), || Ok(ptr::null_mut()))
}

unsafe extern "C" fn send(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: see above.
    unsafe {
        let py = Receiver::<ffi::PyObject>::of(object).py();
        guarded_send(py, result, || {
            Ok(Progress::Returned(py.None().into_bound(py)))
        })
    }
}

/// A new reference to the awaitable.
#[inline]
pub fn new_reference(py: Python<'_>) -> Bound<'_, PyAny> {
    // SAFETY: it is made before anything can ask for it, and never freed.
    unsafe { Bound::from_borrowed_ptr(py, DONE.load(Ordering::Relaxed)) }
}

/// Makes type and instance; called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    // SAFETY: each function has its slot's signature; size and name are as asked for.
    unsafe {
        TYPE.make(
            py,
            c"nanospan._core._Done",
            size_of::<ffi::PyObject>(),
            0,
            &mut [
                tables::slot(ffi::Py_am_await, itself as *const c_void),
                tables::slot(ffi::Py_am_send, send as *const c_void),
                tables::slot(ffi::Py_tp_iter, itself as *const c_void),
                tables::slot(ffi::Py_tp_iternext, next as *const c_void),
                tables::END,
            ],
        )?;
        let done = ffi::PyObject_New::<ffi::PyObject>(TYPE.get());
        let done = Bound::from_owned_ptr_or_err(py, done)?;
        tables::make_immortal(done.as_ptr());
        DONE.store(done.into_ptr(), Ordering::Relaxed);
    }
    Ok(())
}
