//! Memory of spans that ended, for those to come. Without a GIL, the allocator's own lists per thread
//! do as well.
#![allow(unsafe_code, reason = "raw memory")]

use std::ffi::c_void;
#[cfg(Py_GIL_DISABLED)]
use std::ptr;

use pyo3::ffi;

#[cfg(not(Py_GIL_DISABLED))]
mod with_gil {
    use std::{cell::UnsafeCell, ffi::c_void, ptr};

    /// As many as blocks nest on all stacks together; more come from the allocator.
    const CAPACITY: usize = 64;

    pub struct FreeList(UnsafeCell<([*mut c_void; CAPACITY], usize)>);

    // SAFETY: `pop` and `push` run with the GIL held and call nothing that could release it.
    unsafe impl Sync for FreeList {}

    pub static FREE: FreeList = FreeList(UnsafeCell::new(([ptr::null_mut(); CAPACITY], 0)));

    impl FreeList {
        #[inline]
        pub unsafe fn pop(&self) -> *mut c_void {
            // SAFETY: the GIL is held, so this is the only reference.
            let (memory, length) = unsafe { &mut *self.0.get() };
            match length.checked_sub(1) {
                Some(last) => {
                    *length = last;
                    memory[last]
                }
                None => ptr::null_mut(),
            }
        }

        /// False if there is no room.
        #[inline]
        pub unsafe fn push(&self, freed: *mut c_void) -> bool {
            // SAFETY: as in `pop`.
            let (memory, length) = unsafe { &mut *self.0.get() };
            let Some(slot) = memory.get_mut(*length) else {
                return false;
            };
            *slot = freed;
            *length += 1;
            true
        }
    }
}

/// # Safety
///
/// The thread is attached.
#[inline]
pub unsafe fn pop() -> *mut c_void {
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: attached means holding the GIL.
    return unsafe { with_gil::FREE.pop() };
    #[cfg(Py_GIL_DISABLED)]
    ptr::null_mut()
}

/// # Safety
///
/// The thread is attached; `freed` is a span's memory that nobody refers to.
#[inline]
pub unsafe fn push(freed: *mut c_void) {
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: attached means holding the GIL.
    if unsafe { with_gil::FREE.push(freed) } {
        return;
    }
    // SAFETY: it came from PyObject_Malloc.
    unsafe { ffi::PyObject_Free(freed) }
}
