//! Raises `StopIteration`, which is how an iterator's `__next__` and a coroutine's `send` return a result.

use std::ptr;
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::{ffi, prelude::*};

/// Raises `StopIteration(value)`.
pub fn iteration(value: &Bound<'_, PyAny>) {
    // SAFETY: the value is valid and proves that the thread is attached. The instance is created explicitly, because
    // PyErr_SetObject would unpack a tuple into several arguments.
    unsafe {
        let made = ffi::PyObject_CallFunctionObjArgs(
            ffi::PyExc_StopIteration,
            value.as_ptr(),
            ptr::null_mut::<ffi::PyObject>(),
        );
        if !made.is_null() {
            ffi::PyErr_SetObject(ffi::PyExc_StopIteration, made);
            ffi::Py_DECREF(made);
        }
    }
}

/// Raises `StopIteration(value)` at low cost; the caller must pass `value` to [`forget`] afterwards.
///
/// From Python 3.12 on, `await` calls `__next__`, and creating an exception would cost more than the rest of an `async
/// with` block. One exception object is therefore kept, and reused if nothing else refers to it.
pub fn iteration_shortly(value: &Bound<'_, PyAny>) {
    #[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
    // SAFETY: the GIL serialises access to the kept instance, which is exactly a StopIteration and therefore has the
    // layout of PyStopIterationObject. A reference count of 1 means that only this module refers to it, so nothing else
    // can see its value change. An instance to which a Python frame has added a traceback is not reused.
    unsafe {
        let mut kept = KEPT.load(Ordering::Relaxed);
        if kept.is_null() {
            kept = ffi::PyObject_CallNoArgs(ffi::PyExc_StopIteration);
            if kept.is_null() {
                return;
            }
            KEPT.store(kept, Ordering::Relaxed);
        }
        let fields = kept.cast::<ffi::PyStopIterationObject>();
        if ffi::Py_REFCNT(kept) == 1 && (*fields).traceback.is_null() {
            let value = value.clone().into_ptr();
            let before = std::mem::replace(&mut (*fields).value, value);
            ffi::Py_INCREF(kept);
            ffi::PyErr_SetRaisedException(kept);
            ffi::Py_XDECREF(before);
            return;
        }
    }
    iteration(value);
}

#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
static KEPT: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

/// Removes `value` from the exception that [`iteration_shortly`] reuses, which would otherwise keep `value` alive.
#[inline]
pub fn forget(value: &Bound<'_, PyAny>) {
    #[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
    // SAFETY: as in `iteration_shortly`. The released reference is not the last one, because the caller has another.
    unsafe {
        let kept = KEPT.load(Ordering::Relaxed);
        if !kept.is_null() && ffi::Py_REFCNT(kept) == 1 {
            let fields = kept.cast::<ffi::PyStopIterationObject>();
            if (*fields).value == value.as_ptr() {
                (*fields).value = value.py().None().into_ptr();
                ffi::Py_DECREF(value.as_ptr());
            }
        }
    }
    #[cfg(not(all(Py_3_12, not(Py_GIL_DISABLED))))]
    let _ = value;
}
