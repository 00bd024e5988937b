//! Raising `StopIteration`, which is how `__next__` and `send` return a result.

use std::ptr;
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::{ffi, prelude::*};

/// Raises `StopIteration(value)`.
pub fn iteration(value: &Bound<'_, PyAny>) {
    // SAFETY: the value is valid, and proves attachment. An instance is made explicitly: a bare tuple would
    // be taken for arguments.
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

/// As [`iteration`], for a value that [`forget`] will be called with.
///
/// From 3.12 on, `await` asks `__next__`, and making an exception would cost more than all the rest
/// of an `async with`. One instance is kept and raised again while nothing else refers to it.
pub fn iteration_shortly(value: &Bound<'_, PyAny>) {
    #[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
    // SAFETY: the GIL serialises access to the kept instance, which is an exact StopIteration, so has
    // the layout of PyStopIterationObject. A count of 1 means that only this module refers to it: nothing
    // else can see its value change. One that a Python frame has left its traceback in is not used again.
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

/// Makes the kept exception forget `value`, which must not live longer for having been returned.
#[inline]
pub fn forget(value: &Bound<'_, PyAny>) {
    #[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
    // SAFETY: as in `iteration_shortly`. The reference given up is not the last one: the caller has another.
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
