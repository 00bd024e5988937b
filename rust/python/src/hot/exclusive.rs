//! Exclusive access for the time of a few moves of pointers.

use pyo3::prelude::*;

/// A value that one thread at a time may touch, guarded by the GIL or, without one, by a lock.
///
/// What is done under it must not run Python code: no object is made, compared or dropped, so that
/// neither another thread nor a finaliser or the garbage collector on this one can come back for it.
#[derive(Default)]
pub struct Exclusive<T>(guard::Cell<T>);

impl<T> Exclusive<T> {
    pub const fn new(value: T) -> Self {
        Self(guard::Cell::new(value))
    }

    /// Calls `work` with the value.
    #[inline]
    pub fn with<R>(&self, _attached: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        self.0.with(work)
    }

    /// Calls `work` with the value on behalf of the garbage collector, or not at all if a thread was
    /// stopped in the middle (which happens without a GIL only).
    pub fn collecting<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.collecting(work)
    }
}

#[cfg(not(Py_GIL_DISABLED))]
mod guard {
    use std::cell::UnsafeCell;

    #[derive(Default)]
    pub struct Cell<T>(UnsafeCell<T>);

    // SAFETY: every access holds the GIL from beginning to end: `with` asks for proof of attachment,
    // `collecting` is called by the garbage collector alone, and neither's work releases it.
    unsafe impl<T: Send> Sync for Cell<T> {}

    impl<T> Cell<T> {
        pub const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        #[inline]
        pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
            // SAFETY: the GIL keeps other threads out, and `work` runs no Python code that could come
            // back on this one, so this is the only reference.
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
