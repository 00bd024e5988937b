//! Ends deep recursion with a RecursionError before the C stack overflows.
//!
//! A timed call takes about 700 bytes of the C stack. Before CPython 3.12, only `sys.setrecursionlimit` limits how deep C code
//! may call itself, and a program that raises the limit for the sake of recursive Python functions would be killed where
//! such a function is timed. 3.12 and 3.13 have a limit for C code, which is too high for threads with small stacks. From
//! 3.14 on, the interpreter checks how much of the stack is left.

#[cfg(any(not(all(target_os = "linux", target_env = "gnu")), Py_3_14))]
mod unchecked {
    use pyo3::prelude::*;

    /// Does nothing.
    #[inline(always)]
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the other implementation can fail"
    )]
    pub fn check(_: Python<'_>) -> PyResult<()> {
        Ok(())
    }
}

#[cfg(any(not(all(target_os = "linux", target_env = "gnu")), Py_3_14))]
pub use unchecked::check;

#[cfg(all(target_os = "linux", target_env = "gnu", not(Py_3_14)))]
mod checked {
    use std::{
        mem::MaybeUninit,
        ptr,
        sync::atomic::{AtomicU64, Ordering},
    };

    use pyo3::{exceptions::PyRecursionError, prelude::*};

    /// Bytes to leave free for what a call does besides calling back; it is more than CPython and libc need at once.
    const RESERVE: usize = 256 * 1024;

    /// A range of addresses, in units of 4 KiB: where it starts and, in the lower 28 bits, how long it is.
    #[derive(Clone, Copy, PartialEq)]
    struct Range(u64);

    impl Range {
        const LENGTH_BITS: u32 = 28;
        const EMPTY: Self = Self(0);

        /// Of a longer range than 1 TiB, which a stack without a limit may be, the end is kept.
        fn new(start: usize, end: usize) -> Self {
            let (start, end) = (start as u64 >> 12, end as u64 >> 12);
            let start = start.max(end.saturating_sub((1 << Self::LENGTH_BITS) - 1));
            Self(start << Self::LENGTH_BITS | (end - start))
        }

        #[inline(always)]
        fn contains(self, address: usize) -> bool {
            let offset = (address as u64 >> 12).wrapping_sub(self.0 >> Self::LENGTH_BITS);
            offset < self.0 & ((1 << Self::LENGTH_BITS) - 1)
        }
    }

    /// The part of a stack in which calls may begin: that of the thread that checked last, which saves looking for the
    /// current thread's. All accesses are Relaxed, because the value is complete in itself. Unused without a GIL, where
    /// threads would write it all the time.
    static USABLE: AtomicU64 = AtomicU64::new(Range::EMPTY.0);

    /// What is known of a thread's stack.
    struct Stack {
        usable: Range,
        reserve: Range,
    }

    impl Drop for Stack {
        /// Forgets the stack when its thread ends, because other things may be mapped there afterwards.
        fn drop(&mut self) {
            let (own, empty) = (self.usable.0, Range::EMPTY.0);
            let _ = USABLE.compare_exchange(own, empty, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    thread_local! {
        static STACK: Stack = look_up();
    }

    /// Raises RecursionError if little of the thread's C stack is left.
    #[inline(always)]
    pub fn check(_: Python<'_>) -> PyResult<()> {
        let local = 0u8;
        let here = ptr::from_ref(&local).addr();
        if !cfg!(Py_GIL_DISABLED) && Range(USABLE.load(Ordering::Relaxed)).contains(here) {
            return Ok(());
        }
        check_own(here)
    }

    #[cold]
    #[inline(never)]
    fn check_own(here: usize) -> PyResult<()> {
        let full = STACK.try_with(|stack| {
            if !cfg!(Py_GIL_DISABLED) && stack.usable.contains(here) {
                USABLE.store(stack.usable.0, Ordering::Relaxed);
            }
            stack.reserve.contains(here)
        });
        // Code that switches to its own stack, or runs while the thread ends, is not checked.
        match full {
            Ok(true) => Err(PyRecursionError::new_err(
                "maximum recursion depth exceeded: the C stack is nearly full",
            )),
            _ => Ok(()),
        }
    }

    /// Asks for the bounds of this thread's stack. If they cannot be found, both ranges are empty.
    fn look_up() -> Stack {
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
        if status != 0 {
            return Stack {
                usable: Range::EMPTY,
                reserve: Range::EMPTY,
            };
        }
        let limit = low.addr() + RESERVE.min(size / 2);
        Stack {
            usable: Range::new(limit, low.addr() + size),
            reserve: Range::new(low.addr(), limit),
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu", not(Py_3_14)))]
pub use checked::check;
