//! Spans that ended, for those to come. Without a GIL, the allocator's own lists per thread do as well.
#![allow(unsafe_code, reason = "objects between two lives")]

use pyo3::ffi;

#[cfg(not(Py_GIL_DISABLED))]
mod with_gil {
    use std::{cell::UnsafeCell, ptr};

    use pyo3::ffi;

    /// As many as blocks nest on all stacks together; more come from the allocator.
    const CAPACITY: usize = 64;

    pub struct FreeList(UnsafeCell<([*mut ffi::PyObject; CAPACITY], usize)>);

    // SAFETY: `pop` and `push` run with the GIL held and call nothing that could release it.
    unsafe impl Sync for FreeList {}

    pub static FREE: FreeList = FreeList(UnsafeCell::new(([ptr::null_mut(); CAPACITY], 0)));

    unsafe extern "C" {
        // Exported by CPython for its own free lists and those of extensions.
        fn _Py_NewReference(object: *mut ffi::PyObject);
    }

    impl FreeList {
        #[inline]
        pub unsafe fn pop(&self) -> *mut ffi::PyObject {
            // SAFETY: the GIL is held, so this is the only reference.
            let (objects, length) = unsafe { &mut *self.0.get() };
            let Some(last) = length.checked_sub(1) else {
                return ptr::null_mut();
            };
            *length = last;
            // SAFETY: an object that `push` took still has its type, and its type's reference.
            unsafe { _Py_NewReference(objects[last]) };
            objects[last]
        }

        /// False if there is no room.
        #[inline]
        pub unsafe fn push(&self, freed: *mut ffi::PyObject) -> bool {
            // SAFETY: as in `pop`.
            let (objects, length) = unsafe { &mut *self.0.get() };
            let Some(slot) = objects.get_mut(*length) else {
                return false;
            };
            *slot = freed;
            *length += 1;
            true
        }
    }
}

/// A span with one reference and its fields yet to be written, or null.
///
/// # Safety
///
/// The thread is attached.
#[inline]
pub unsafe fn pop() -> *mut ffi::PyObject {
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: attached means holding the GIL.
    return unsafe { with_gil::FREE.pop() };
    #[cfg(Py_GIL_DISABLED)]
    std::ptr::null_mut()
}

/// Takes a span without references and with its fields dropped, or frees it.
///
/// # Safety
///
/// The thread is attached; `freed` is a span, made by `PyObject_New`, that nobody refers to.
#[inline]
pub unsafe fn push(freed: *mut ffi::PyObject) {
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: attached means holding the GIL.
    if unsafe { with_gil::FREE.push(freed) } {
        return;
    }
    // SAFETY: as PyObject_New made it: the memory from PyObject_Malloc, with a reference to its type.
    unsafe {
        let class = ffi::Py_TYPE(freed);
        ffi::PyObject_Free(freed.cast());
        ffi::Py_DECREF(class.cast());
    }
}
