//! Ends deep recursion with a RecursionError before the C stack overflows.
//!
//! A timed call takes about 700 bytes of the C stack. From 3.12 on, CPython limits how deep C code may call itself. Before,
//! only `sys.setrecursionlimit` does, and a program that raises it for the sake of recursive Python functions would be
//! killed where such a function is timed.

#[cfg(not(all(target_os = "linux", not(Py_3_12))))]
mod unchecked {
    use pyo3::prelude::*;

    /// Does nothing.
    #[inline(always)]
    #[expect(
        clippy::unnecessary_wraps,
        reason = "checks where the interpreter does not"
    )]
    pub fn check(_: Python<'_>) -> PyResult<()> {
        Ok(())
    }
}

#[cfg(not(all(target_os = "linux", not(Py_3_12))))]
pub use unchecked::check;

#[cfg(all(target_os = "linux", not(Py_3_12)))]
mod checked {
    use std::{cell::Cell, mem::MaybeUninit, ptr};

    use pyo3::{exceptions::PyRecursionError, prelude::*};

    /// Bytes to leave free for what a call does besides calling back: more than CPython and libc need at once.
    const RESERVE: usize = 256 * 1024;

    thread_local! {
        /// The start and length of the part of the thread's stack in which no call may begin. Unknown at first.
        static FORBIDDEN: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
    }

    /// Raises RecursionError if little of the thread's C stack is left.
    #[inline(always)]
    pub fn check(_: Python<'_>) -> PyResult<()> {
        let local = 0u8;
        let here = ptr::from_ref(&local).addr();
        let (low, length) = match FORBIDDEN.get() {
            Some(range) => range,
            None => look_up(),
        };
        match here.wrapping_sub(low) < length {
            true => Err(overflow()),
            false => Ok(()),
        }
    }

    /// Asks for the bounds of this thread's stack. A stack of which nothing is known is not checked.
    #[cold]
    fn look_up() -> (usize, usize) {
        let mut low = ptr::null_mut();
        let mut size = 0;
        // SAFETY: the attributes are initialised by the first function, used only if it succeeded, and then destroyed.
        let status = unsafe {
            let mut attributes = MaybeUninit::uninit();
            let status = libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr());
            if status == 0 {
                libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size);
                libc::pthread_attr_destroy(attributes.as_mut_ptr());
            }
            status
        };
        let range = match status {
            0 => (low.addr(), RESERVE.min(size / 4)),
            _ => (0, 0),
        };
        FORBIDDEN.set(Some(range));
        range
    }

    #[cold]
    fn overflow() -> PyErr {
        PyRecursionError::new_err("maximum recursion depth exceeded: the C stack is nearly full")
    }
}

#[cfg(all(target_os = "linux", not(Py_3_12)))]
pub use checked::check;
