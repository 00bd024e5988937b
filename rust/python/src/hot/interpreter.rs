//! Restricts the module to one interpreter of the process, because its static variables hold Python objects.
//!
//! Types, interned strings, the callables passed to `bind` and the process-wide monitor belong to the interpreter that
//! created them. Another interpreter would share them without sharing a lock, and would use them after they are gone.

use std::{
    ffi::c_int,
    sync::atomic::{AtomicI64, Ordering},
};

use pyo3::{PyErr, exceptions::PyImportError, ffi, prelude::*};

/// The ID of the interpreter that imported the module first, or one of the two constants below. IDs start at 0, and are
/// not reused until the process finalises Python and initialises it again.
static OWNER: AtomicI64 = AtomicI64::new(NONE);
const NONE: i64 = -1;
const FINALISED: i64 = -2;

/// Makes the current interpreter the owner of the module's static variables.
///
/// # Errors
///
/// ImportError if another interpreter is, or was, the owner.
pub fn claim(py: Python<'_>) -> PyResult<()> {
    // SAFETY: an attached thread has an interpreter.
    let current = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if current < 0 {
        return Err(PyErr::fetch(py));
    }
    // Relaxed: the number alone decides; it publishes no other data.
    match OWNER.compare_exchange(NONE, current, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {
            // SAFETY: `finalised` uses no Python API, as required. All places for callbacks may be taken; then only a
            // process that initialises Python again goes undetected.
            let _: c_int = unsafe { ffi::Py_AtExit(Some(finalised)) };
            Ok(())
        }
        Err(owner) if owner == current => Ok(()),
        Err(_) => Err(PyImportError::new_err(
            "nanospan must be imported by only one interpreter of a process, and another one has already imported \
             it; import it only there, or run each interpreter in its own process",
        )),
    }
}

/// Called after the last interpreter has ended.
extern "C" fn finalised() {
    OWNER.store(FINALISED, Ordering::Relaxed);
}
