//! The awaitable that a span's `__aexit__` returns. It has already completed, so awaiting it never suspends.

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

/// The only instance of the awaitable, created when the module is loaded and never freed.
static DONE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());
static TYPE: RawType = RawType::new();

// The SAFETY comments refer to this: CPython calls both functions below with the thread attached, with the instance as
// the first argument, and with the other arguments that the slot requires.

/// Returns NULL without setting an exception, which means that the iterator is exhausted, so `await` returns None.
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

/// Returns a new reference to the awaitable.
#[inline]
pub fn new_reference(py: Python<'_>) -> Bound<'_, PyAny> {
    // SAFETY: the instance is created before this function can be called, and never freed.
    unsafe { Bound::from_borrowed_ptr(py, DONE.load(Ordering::Relaxed)) }
}

/// Creates the type and its instance. Must be called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    // SAFETY: each function has its slot's signature; size and name are as `make` requires.
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
