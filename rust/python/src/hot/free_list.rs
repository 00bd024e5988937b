//! Objects that ended, for those to come. Without a GIL, the allocator's own lists per thread do as well.

use pyo3::ffi;
#[cfg(not(Py_GIL_DISABLED))]
use std::{cell::UnsafeCell, ptr};

/// As many as blocks nest on all stacks together; more come from the allocator.
#[cfg(not(Py_GIL_DISABLED))]
const CAPACITY: usize = 64;

/// Freed objects of one type, of which only the count of references has to be written again.
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

    /// An object with one reference, the rest of it as `push` took it, or null.
    ///
    /// # Safety
    ///
    /// The thread is attached.
    #[inline]
    pub unsafe fn pop(&self) -> *mut ffi::PyObject {
        #[cfg(not(Py_GIL_DISABLED))]
        {
            // SAFETY: attached means that the GIL is held, so this is the only reference.
            let (objects, length) = unsafe { &mut *self.0.get() };
            let Some(last) = length.checked_sub(1) else {
                return ptr::null_mut();
            };
            *length = last;
            // SAFETY: an object that `push` took still has its type, and its type's reference.
            unsafe { _Py_NewReference(objects[last]) };
            objects[last]
        }
        #[cfg(Py_GIL_DISABLED)]
        std::ptr::null_mut()
    }

    /// Takes an object without references, what it owned given up, or frees it.
    ///
    /// # Safety
    ///
    /// The thread is attached; `freed` is of the list's type, made by `PyObject_New` or, not tracked any more and
    /// never finalised, by `PyObject_GC_New`, and nothing refers to it.
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
        // SAFETY: as it was made, with a reference to its type.
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
