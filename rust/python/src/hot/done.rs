//! What `__aexit__` returns: awaitable, and done before it is awaited.

use std::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{ffi, prelude::*};

use super::raw::{self, RawType};

/// The only instance, made when the module is loaded and never freed.
static DONE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());
static TYPE: RawType = RawType::new();

unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: CPython passes a valid object.
    unsafe { ffi::Py_INCREF(object) };
    object
}

/// NULL without an exception: the iterator is exhausted, and awaiting it gives None.
unsafe extern "C" fn next(_: *mut ffi::PyObject) -> *mut ffi::PyObject {
    ptr::null_mut()
}

unsafe extern "C" fn send(
    _: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: CPython passes a place for the result.
    unsafe { *result = raw::none() };
    ffi::PySendResult::PYGEN_RETURN
}

/// A new reference to the awaitable.
#[inline]
pub fn new_reference() -> *mut ffi::PyObject {
    let done = DONE.load(Ordering::Relaxed);
    // SAFETY: it is never freed.
    unsafe { ffi::Py_INCREF(done) };
    done
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
                raw::slot(ffi::Py_am_await, itself as *const c_void),
                raw::slot(ffi::Py_am_send, send as *const c_void),
                raw::slot(ffi::Py_tp_iter, itself as *const c_void),
                raw::slot(ffi::Py_tp_iternext, next as *const c_void),
                raw::END,
            ],
        )?;
        let done = ffi::PyObject_New::<ffi::PyObject>(TYPE.get());
        let done = Bound::from_owned_ptr_or_err(py, done)?;
        raw::make_immortal(done.as_ptr());
        DONE.store(done.into_ptr(), Ordering::Relaxed);
    }
    Ok(())
}
