//! From the very string object that names an operation to the operation, without hashing.
//!
//! Names at call sites are almost always literals, which the interpreter interns: the same object
//! each time. Comparing its address with that of the operation's own name is cheaper than any dict.

use std::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{ffi, prelude::*};

use super::raw::borrowed;
use crate::operation::Operation;

/// Enough that the few dozen names of a hot path rarely share a place; 2 KiB a monitor.
const PLACES: usize = 256;

/// Operations of one monitor, each at a place that its name's address leads to.
///
/// The operations are borrowed: the monitor, whose part the cache is, never lets go of one.
pub struct NameCache([AtomicPtr<ffi::PyObject>; PLACES]);

impl Default for NameCache {
    fn default() -> Self {
        Self([const { AtomicPtr::new(ptr::null_mut()) }; PLACES])
    }
}

impl NameCache {
    #[inline]
    fn place(&self, name: *mut ffi::PyObject) -> &AtomicPtr<ffi::PyObject> {
        let address = name as usize;
        // Objects are aligned to 16 bytes; neighbours of one size class differ above that.
        &self.0[((address >> 4) ^ (address >> 12)) % PLACES]
    }

    /// The operation whose name is this very object, or null.
    ///
    /// # Safety
    ///
    /// `name` is a valid object, and the operations that were remembered are alive.
    #[inline]
    pub unsafe fn find(&self, py: Python<'_>, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
        // Acquire: pairs with the Release in `remember`, so that what the operation points to is seen.
        let found = self.place(name).load(Ordering::Acquire);
        if found.is_null() {
            return found;
        }
        // SAFETY: what is remembered is an Operation, alive by the caller's word. It owns its name, so
        // no other object can have that address meanwhile.
        let own = unsafe {
            borrowed(py, &found)
                .cast_unchecked::<Operation>()
                .get()
                .name(py)
        };
        if own.as_ptr() == name {
            found
        } else {
            ptr::null_mut()
        }
    }

    /// Remembers an operation under its own name object. It must live as long as the cache is used.
    pub fn remember(&self, operation: &Bound<'_, Operation>) {
        let name = operation.get().name(operation.py()).as_ptr();
        // Release: see `find`.
        self.place(name)
            .store(operation.as_ptr(), Ordering::Release);
    }
}
