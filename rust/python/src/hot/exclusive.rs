//! Exclusive access to a value for very short operations, such as moving a few pointers.

use pyo3::prelude::*;

/// A value that only one thread at a time may access, protected by the GIL or, in a build without a GIL, by a lock.
///
/// Code that accesses the value must not run Python code: it must not create, compare or drop Python objects. Otherwise
/// another thread, a finaliser or the garbage collector could access the value at the same time.
#[derive(Default)]
pub struct Exclusive<T>(guard::Cell<T>);

impl<T> Exclusive<T> {
    pub const fn new(value: T) -> Self {
        Self(guard::Cell::new(value))
    }

    /// Calls `work` with exclusive access to the value.
    #[inline]
    pub fn with<R>(&self, _attached: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        self.0.with(work)
    }

    /// Calls `work` with the value on behalf of the garbage collector. Returns `None` without calling `work` if the
    /// collector stopped a thread while it was accessing the value, which can happen only without a GIL.
    pub fn collecting<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.collecting(work)
    }
}

#[cfg(not(Py_GIL_DISABLED))]
mod guard {
    use std::cell::UnsafeCell;

    #[derive(Default)]
    pub struct Cell<T>(UnsafeCell<T>);

    // SAFETY: the GIL is held during every access: `Exclusive::with` requires proof of attachment, `collecting` is
    // called only by the garbage collector, and the work passed to them does not release the GIL.
    unsafe impl<T: Send> Sync for Cell<T> {}

    impl<T> Cell<T> {
        pub const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        #[inline]
        pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
            // SAFETY: the GIL excludes other threads, and `work` runs no Python code that could call this function
            // again on the same thread, so this is the only reference.
            work(unsafe { &mut *self.0.get() })
        }

        pub fn collecting<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
            Some(self.with(work))
        }
    }
}

#[cfg(Py_GIL_DISABLED)]
mod guard {
    use std::sync::{Mutex, PoisonError, TryLockError};

    #[derive(Default)]
    pub struct Cell<T>(Mutex<T>);

    impl<T> Cell<T> {
        pub const fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        #[inline]
        pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
            work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        pub fn collecting<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
            match self.0.try_lock() {
                Ok(mut value) => Some(work(&mut value)),
                Err(TryLockError::Poisoned(poisoned)) => Some(work(&mut poisoned.into_inner())),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }
}
