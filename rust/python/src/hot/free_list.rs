//! A list of freed objects that are reused instead of allocating new ones. Without a GIL, the list stays empty, because
//! CPython's allocator then has per-thread free lists that are just as fast.

use pyo3::ffi;
#[cfg(not(Py_GIL_DISABLED))]
use std::{cell::UnsafeCell, ptr};

/// Maximum number of objects kept: enough for the `with` blocks and calls that are usually timed at the same time
/// across all threads. When the list is empty, objects come from the allocator.
#[cfg(not(Py_GIL_DISABLED))]
const CAPACITY: usize = 64;

/// Freed objects of one type, kept for reuse with their type and fields intact.
#[cfg(not(Py_GIL_DISABLED))]
pub struct FreeList(UnsafeCell<([*mut ffi::PyObject; CAPACITY], usize)>);
#[cfg(Py_GIL_DISABLED)]
pub struct FreeList;

// SAFETY: `pop` and `push` run with the GIL held and call nothing that could release it.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl Sync for FreeList {}

#[cfg(not(Py_GIL_DISABLED))]
unsafe extern "C" {
    // Exported by CPython for its own free lists and those of extensions.
    fn _Py_NewReference(object: *mut ffi::PyObject);
}

impl FreeList {
    pub const fn new() -> Self {
        #[cfg(not(Py_GIL_DISABLED))]
        return Self(UnsafeCell::new(([ptr::null_mut(); CAPACITY], 0)));
        #[cfg(Py_GIL_DISABLED)]
        Self
    }

    /// Removes an object from the list and returns a new reference to it, or null if the list is empty. The object's
    /// fields are as they were when it was passed to `push`.
    ///
    /// # Safety
    ///
    /// The calling thread must be attached to the interpreter.
    #[inline]
    pub unsafe fn pop(&self) -> *mut ffi::PyObject {
        #[cfg(not(Py_GIL_DISABLED))]
        {
            // SAFETY: the thread is attached and so holds the GIL, which makes this the only reference.
            let (objects, length) = unsafe { &mut *self.0.get() };
            let Some(last) = length.checked_sub(1) else {
                return ptr::null_mut();
            };
            *length = last;
            // SAFETY: an object passed to `push` still has its type, and still owns a reference to it.
            unsafe { _Py_NewReference(objects[last]) };
            objects[last]
        }
        #[cfg(Py_GIL_DISABLED)]
        std::ptr::null_mut()
    }

    /// Adds a dead object to the list, or frees it if the list is full.
    ///
    /// # Safety
    ///
    /// The calling thread must be attached to the interpreter. `freed` must be an object of the list's type that has no
    /// references and has released everything it owned except the reference to its type. It must have been created by
    /// `PyObject_New`, or by `PyObject_GC_New`; in the latter case it must be untracked and never have been finalised.
    #[inline]
    pub unsafe fn push(&self, freed: *mut ffi::PyObject) {
        #[cfg(not(Py_GIL_DISABLED))]
        {
            // SAFETY: as in `pop`.
            let (objects, length) = unsafe { &mut *self.0.get() };
            if let Some(slot) = objects.get_mut(*length) {
                *slot = freed;
                *length += 1;
                return;
            }
        }
        // SAFETY: the object is freed with the function that matches its allocation, and its reference to its type is
        // released.
        unsafe {
            let class = ffi::Py_TYPE(freed);
            match ffi::PyType_IS_GC(class) {
                0 => ffi::PyObject_Free(freed.cast()),
                _ => ffi::PyObject_GC_Del(freed.cast()),
            }
            ffi::Py_DECREF(class.cast());
        }
    }
}
